"""Frozen records, and the types of the callables, that cross from one room to another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from hushar.drafts import Draft

NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class Call(Protocol):
    """What inference has to know of a call. `hushar.rpc.RawCall` is one; no wrapper is needed."""

    @property
    def message(self) -> bytes:
        """The serialized InferenceRequest."""
        ...

    @property
    def over(self) -> bool:
        """Whether nobody waits for the answer any more: it has one, or was cancelled, its deadline is
        over, its connection lost."""
        ...

    @property
    def deadline(self) -> float:
        """When the call is over, on trio's clock; `math.inf` without a deadline."""
        ...

    def reply(self, message: bytes, /) -> bool:
        """Answer OK with the serialized InferenceResponse. False where that is not the answer: the call is
        over, and then nothing happens, or the transport refuses so long an answer or so many that wait."""
        ...


class Timings(NamedTuple):
    """How long the stages of one batch took, in microseconds (CONTRACT.md 5)."""

    decode_us: float
    """Reading the messages, before vectorization; 0 where that is one walk."""
    vectorization_us: float
    """`VectorizationTime`: features to matrix."""
    to_tensor_us: float
    """`ToTensorTime`: matrix to the model's input."""
    inference_us: float
    """`InferenceTime`: the model."""
    encode_us: float
    """Assembling responses and log records."""


Weighted = Sequence[tuple[float, int]]
"""Values of calls, each with how many calls have it: those that came together waited together."""


class BatchMetrics(NamedTuple):
    """What is measured of one batch: the metrics channel carries these."""

    rows: int
    """Rows in the matrix."""
    timings: Timings | None
    """None where no row reached the model."""
    queue_us: Weighted = ()
    """Of the batch's calls: from arrival to the start of the batch, of one that is cut into slices to that
    of its first."""
    answered_us: Weighted = ()
    """Of the calls answered OK: from arrival to the answer."""
    failed: Mapping[str, int] = NOTHING
    """Calls that failed, by the name of their error's kind, such as INVALID_ARGUMENT."""


Piece = bytes | memoryview
"""A part of a log: one or more records, laid end to end."""
AnyPiece = TypeVar("AnyPiece", bytes, memoryview, Piece)


class Records(NamedTuple):
    """Log records, laid end to end."""

    content: memoryview
    number: int


class Drafting(Protocol):
    """Who has drafts."""

    @property
    def draft(self) -> "Draft | None":
        """Where the records of the next batch are best put together; None where they are to be bytes."""
        ...

    def lend(self, size_bytes: int) -> "Draft | None":
        """The same, of about so many bytes, for a thread: until `settle`, nothing else is put there, and its
        memory stays. None where it is lent already."""
        ...

    def settle(self) -> None:
        """The thread has done with what it was lent."""
        ...


class LogBatch(NamedTuple):
    """The log records of the calls of one batch."""

    records: "tuple[bytes | Draft, ...]"
    """One a call: field 1 of InferenceLogs with its tag and length, so that any concatenation of
    records is a log file. Each piece holds one or more of them, laid end to end; a draft comes alone."""
    spooled: Callable[[], None] | None = None
    """Called in the event loop as soon as every record is in the spool, or is counted as lost:
    with `log.acknowledge = "spooled"` the responses leave here."""
    joined: int = 0
    """How many records there are; 0 where each piece is one."""

    @property
    def size(self) -> int:
        """How many records there are."""
        return self.joined or len(self.records)


def own_bytes(pieces: "Sequence[bytes | Draft]") -> Sequence[bytes]:
    """The pieces, a draft of them as bytes of its own: for what outlives it."""
    return [bytes(piece) for piece in pieces]


def each_record(pieces: Sequence[AnyPiece], count: int) -> Sequence[AnyPiece]:
    """The `count` records in pieces that hold one or more of them each, laid end to end.

    Where they are laid end to end is seen from their lengths: for the few times that it matters. Raises
    ValueError where that is not so.
    """
    if len(pieces) == count:
        return pieces
    records = [record for piece in pieces for record in _records_in(piece)]
    if len(records) != count:
        raise ValueError(f"{len(records)} log records, not {count}")
    return records


def _records_in(piece: AnyPiece) -> Iterator[AnyPiece]:
    start, length = 0, len(piece)
    while start < length:
        # A tag of one byte, and the length as a varint.
        at, shift, size = start + 1, 0, 0
        while at < length and piece[at] >= 0x80:
            size |= (piece[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
        if at >= length:
            raise ValueError("a log record is cut short")
        end = at + 1 + (size | piece[at] << shift)
        if end > length:
            raise ValueError("a log record is cut short")
        yield piece[start:end]
        start = end


LogOutlet = Callable[[LogBatch], bool]
"""The side exit to the log: never blocks, never raises; False if nothing of the batch will be in the
log (dropped, and counted there; or not sampled), and then `spooled` is not called."""

MetricsOutlet = Callable[[BatchMetrics], None]
"""The side exit to the metrics: never blocks, never raises; what does not fit is dropped, counted."""


@dataclass(frozen=True, slots=True)
class VectorizationDocument:
    """A vectorization configuration as it was read: its shape is right, its parameters are not yet
    looked at (that needs the transformations, plugins' among them).
    """

    file: str
    """The URI that it was read from, for messages."""
    transformations: Mapping[str, Mapping[str, Any]]
    """Feature → `{"type": …, …}`; the same names as `order`."""
    order: tuple[str, ...]

"""Features that the log must not hold as they are: left out, or a keyed hash in place of the value.

Theory of operation. A log record is spliced from the bytes of its request (splice.py). Where there is a
`Privacy`, it goes through these bytes before that: a map entry whose key is to be left out is cut out, one
that is to be hashed is replaced, and all else is copied as it is, undecoded. Nothing else in a request is
touched, so the response stays what it was.

The rules (docs/privacy.md):

- An entry's name is what protobuf takes for it: its last key; the empty one where there is none.
- A name is looked for among the names and patterns of `exclude`, then of `hash`. A name that is listed
  matches also where it would not as a pattern, such as `a[0]`.
- Every entry of a name is treated so, also one that a later entry replaces.
- A hashed value is the HMAC-SHA256 of the bytes that protobuf serializes a DataType to, holding nothing
  but the value. An entry of several values is merged before, as protobuf has it.
- A value of which no known kind is set has no hash: it stays absent, and what is unknown in it is dropped.
- An entry with an unknown field in it is no feature for protobuf, but it may be what a person thinks of as
  the feature: where its name matches either list it is left out.

`Readable` is the readable implementation of the walk; `_privacy.pyx` has its compiled twin, the same byte
for byte. Which of them runs is decided in `Privacy`.
"""

import fnmatch
import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from hushar.inference.wire import FIELD_1, FIELD_2, LENGTH, delimited, fields
from hushar.proto.structs_pb2 import DataType

try:
    from hushar.inference import _privacy
except ImportError:
    # Not built: no compiler was there.
    _privacy = None  # type: ignore[assignment]

KEEP, EXCLUDE, HASH = range(3)
"""What becomes of a feature. _privacy.pyx has the same numbers."""

MAX_NAMES: Final = 4096
"""Names of which is remembered what becomes of them: clients may send any."""
MAX_NAME_BYTES: Final = 128
"""Longer names are looked for each time."""

_MAGIC: Final = re.compile(r"[*?\[]")
"""What makes a name a pattern."""

_IN_REQUEST, _IN_LOG_BATCH = 2, 3
"""The numbers of the fields that hold rows."""

_BLOCK: Final = hashlib.sha256().block_size
_HEX_VALUE: Final = b"\x2a\x40"
"""Of a DataType: a string_value of 64 bytes."""
_DOUBLE, _FLOAT, _STRING = 0x09, 0x15, 0x2A
"""Tags of the kinds that most values have."""


class Walk(Protocol):
    """An implementation."""

    def redacted(self, message: bytes, field: int, /) -> bytes:
        """A message whose fields of that number, below 16, are rows, with their map entries as they are to be
        logged. Raises ValueError where it is cut short."""
        ...


class Privacy:
    """What of a request is logged, and how. Safe to use from several threads."""

    def __init__(
        self, exclude: Sequence[str], hashed: Sequence[str], key: bytes = b"", *, readable: bool = False
    ) -> None:
        """`exclude` and `hashed`: names or patterns of fnmatch, in which upper and lower case differ.
        `readable`: walk with the readable implementation also where there is another."""
        self._exclude = _Names(exclude)
        self._hash = _Names(hashed)
        self._keyed = KeyedHash(key)
        self._verdicts: dict[bytes, int] = {}
        self._walk: Walk
        if readable or _privacy is None or sys.byteorder != "little":
            self._walk = Readable(self.verdict, self.hashed)
        else:
            self._walk = _privacy.Compiled(self.verdict, self.hashed)

    def in_request(self, message: bytes) -> bytes:
        """A serialized InferenceRequest that is known to decode, for a log record to be spliced from."""
        return self._walk.redacted(message, _IN_REQUEST)

    def in_log_rows(self, rows: bytes) -> bytes:
        """Log rows that have been spliced: fields of an InferenceLogBatch."""
        return self._walk.redacted(rows, _IN_LOG_BATCH)

    def verdict(self, name: bytes) -> int:
        """What becomes of a feature: KEEP, EXCLUDE or HASH."""
        found = self._verdicts.get(name)
        if found is not None:
            return found
        # What a message that does not decode brings must do no harm here.
        text = name.decode("utf-8", "surrogateescape")
        found = EXCLUDE if text in self._exclude else HASH if text in self._hash else KEEP
        if len(name) <= MAX_NAME_BYTES:
            if len(self._verdicts) >= MAX_NAMES:
                self._verdicts.clear()
            self._verdicts[name] = found
        return found

    def hashed(self, value: bytes) -> bytes:
        """What stands for a value: both are a serialized DataType; empty where no known kind is set.

        Raises ValueError where the value does not decode.
        """
        content = canonical(value)
        return _HEX_VALUE + self._keyed.hex_of(content) if content else b""


class _Names:
    """Names and patterns."""

    def __init__(self, given: Sequence[str]) -> None:
        self._names = frozenset(given)
        self._patterns = [re.compile(fnmatch.translate(name)) for name in given if _MAGIC.search(name)]

    def __contains__(self, name: str) -> bool:
        return name in self._names or any(pattern.match(name) for pattern in self._patterns)


def matches(given: str, name: str) -> bool:
    """Whether a name or pattern of the configuration means a feature of that name."""
    return name in _Names([given])


class KeyedHash:
    """HMAC-SHA256 (RFC 2104). The two blocks of the key are hashed once, which halves what a value costs."""

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK:
            key = hashlib.sha256(key).digest()
        key = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))

    def hex_of(self, content: bytes) -> bytes:
        """64 lower-case hexadecimal digits."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(content)
        outer.update(inner.digest())
        return outer.hexdigest().encode()


def canonical(value: bytes) -> bytes:
    """A serialized DataType as protobuf serializes it anew, without unknown fields.

    Raises ValueError where it does not decode.
    """
    size = len(value)
    if size:
        tag = value[0]
        if (tag == _FLOAT and size == 5) or (tag == _DOUBLE and size == 9):
            return value
        if tag == _STRING and 1 < size < 0x80 and value[1] == size - 2:
            # That its text is UTF-8 has been seen when the request was decoded.
            return value
    try:
        decoded = DataType.FromString(value)
    except DecodeError as error:
        raise ValueError("a value that was decoded is none") from error
    decoded.DiscardUnknownFields()
    return decoded.SerializeToString()


class Readable:
    """The readable implementation; see Walk."""

    def __init__(self, verdict: Callable[[bytes], int], hashed: Callable[[bytes], bytes]) -> None:
        """See Privacy for both."""
        self._verdict = verdict
        self._hashed = hashed

    def redacted(self, message: bytes, field: int, /) -> bytes:
        """See Walk."""
        tag = bytes([field << 3 | LENGTH])
        pieces: list[bytes] = []
        copied = 0
        for number, wire_type, start, at, end in fields(message, 0, len(message)):
            if number == field and wire_type == LENGTH:
                row = self._row(message, at, end)
                if row is not None:
                    pieces += message[copied:start], delimited(tag, row)
                    copied = end
        return b"".join([*pieces, message[copied:]])

    def _row(self, message: bytes, at: int, end: int) -> bytes | None:
        """A row as it is to be logged; None: as it is."""
        pieces: list[bytes] = []
        copied = at
        for number, wire_type, start, entry, stop in fields(message, at, end):
            if number == 2 and wire_type == LENGTH:
                replacement = self._entry(message, entry, stop)
                if replacement is not None:
                    pieces += message[copied:start], replacement
                    copied = stop
        return b"".join([*pieces, message[copied:end]]) if pieces else None

    def _entry(self, message: bytes, at: int, end: int) -> bytes | None:
        """What is to stand for a map entry; None: the entry itself."""
        name, values, whole = b"", [], True
        for number, wire_type, _, start, stop in fields(message, at, end):
            if wire_type == LENGTH and number == 1:
                name = message[start:stop]
            elif wire_type == LENGTH and number == 2:
                values.append(message[start:stop])
            else:
                whole = False
        verdict = self._verdict(name)
        if verdict == KEEP:
            return None
        if verdict == EXCLUDE or not whole:
            return b""
        # Serialized messages laid end to end are merged.
        value = self._hashed(b"".join(values))
        return delimited(FIELD_2, delimited(FIELD_1, name) + delimited(FIELD_2, value))

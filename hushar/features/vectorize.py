"""The one door to vectorization: which implementation runs is decided here and nowhere else."""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from hushar.errors import RequestError
from hushar.features import reference
from hushar.features.columns import InputColumn, Strings, vectorize_columns
from hushar.features.counting import count_rows
from hushar.features.counts import Counts, Totals, by_name
from hushar.features.plan import Plan
from hushar.features.reference import Part
from hushar.features.results import Reading, Vectorized
from hushar.proto.structs_pb2 import InferenceRequest

try:
    from hushar.features.kernel import KernelVectorizer
except ImportError:
    # Not built: there was no compiler.
    KernelVectorizer = None  # type: ignore[assignment, misc]

__all__ = [
    "InputColumn",
    "Reading",
    "Strings",
    "Vectorized",
    "Vectorizer",
    "kernel_name",
    "kernel_problem",
    "make_vectorizer",
]


class Vectorizer(Protocol):
    """Messages in, matrix out. Keeps nothing of a call; may be used by several threads at once."""

    @property
    def plan(self) -> Plan:
        """What it vectorizes by."""
        ...

    @property
    def name(self) -> str:
        """Which implementation this is: "cython" or "reference"."""
        ...

    def count(self, messages: Sequence[bytes]) -> list[int]:
        """The rows of each message, by its top level alone; of one that does not decode some number.

        Never raises.
        """
        ...

    def check(self, message: bytes) -> None:
        """Read all of a message.

        Raises:
            UndecodableRequest: the bytes are no InferenceRequest.
        """
        ...

    def begin(self, message: bytes) -> Reading:
        """Begin with a message whose rows are read in several parts. Does not raise."""
        ...

    def vectorize(
        self, parts: Sequence[bytes | Reading], rows: Sequence[int], counted: bool = True
    ) -> Vectorized:
        """One matrix of all parts.

        Part i is a whole message, whose count is `rows[i]`, or the next `rows[i]` rows of a Reading, which is
        there once at most.
        One that does not decode, or that has a bad value, gets its error and brings no rows; where both
        are so, it is undecodable. In a Reading's errors rows are numbered as in the whole message.
        `counted`: whether what is missing and unknown goes into `feature_counts`; not for rows that came
        before, or that nobody has sent.

        Raises:
            ValueError: a message that decodes has other than `rows[i]` rows.
        """
        ...

    def vectorize_columns(
        self, columns: Mapping[str, InputColumn], rows: int, row_ids: Sequence[str] = ()
    ) -> Vectorized:
        """The matrix of one call whose values come as a column for each feature; one part, so to speak.

        Columns of features that the plan does not name are ignored, but that their strings must be UTF-8,
        else the call is undecodable. `row_ids` (as many as rows, or none) are for the errors' texts.

        Raises:
            ValueError: a column is not of so many rows, or of an unknown type.
        """
        ...

    def feature_counts(self) -> Counts:
        """How often each feature of the plan was missing, unknown, or a string that cannot be read, since the
        start (docs/vectorization.md)."""
        ...


class _ReferenceReading(Reading):
    """Decoded with its first part."""

    __slots__ = ("request",)

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self.request: InferenceRequest | None = None


class ReferenceVectorizer:
    """The readable implementation: protobuf objects and numpy."""

    name = "reference"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._totals = Totals(len(plan.features))

    def count(self, messages: Sequence[bytes]) -> list[int]:
        """See Vectorizer."""
        return count_rows(messages)

    def check(self, message: bytes) -> None:
        """See Vectorizer."""
        reference.open_request(message)

    def begin(self, message: bytes) -> Reading:
        """See Vectorizer."""
        return _ReferenceReading(message)

    def vectorize(
        self, parts: Sequence[bytes | Reading], rows: Sequence[int], counted: bool = True
    ) -> Vectorized:
        """See Vectorizer."""
        started = time.perf_counter()
        taken: list[Part] = []
        errors: dict[int, RequestError] = {}
        for index, (part, count) in enumerate(zip(parts, rows, strict=True)):
            try:
                taken.append(_take(part, count))
            except RequestError as error:
                errors[index] = error
                taken.append(Part(()))
        decode_us = (time.perf_counter() - started) * 1e6
        result = reference.vectorize(self.plan, taken, self._totals if counted else None)
        errors |= result.errors
        for index, told in errors.items():
            failed = parts[index]
            if isinstance(failed, Reading):
                failed.error = told
        return Vectorized(result.matrix, result.rows, errors, decode_us)

    def vectorize_columns(
        self, columns: Mapping[str, InputColumn], rows: int, row_ids: Sequence[str] = ()
    ) -> Vectorized:
        """See Vectorizer."""
        return vectorize_columns(self.plan, columns, rows, row_ids, self._totals)

    def feature_counts(self) -> Counts:
        """See Vectorizer."""
        return by_name(self.plan, self._totals.table())


def _take(part: bytes | Reading, count: int) -> Part:
    """The next `count` rows of a part. Raises UndecodableRequest, or the error of a Reading before."""
    if isinstance(part, bytes):
        taken = Part(reference.open_request(part).inputs)
    else:
        assert isinstance(part, _ReferenceReading)
        if part.error is not None:
            raise part.error
        if part.request is None:
            part.request = reference.open_request(part.message)
        taken = Part(part.request.inputs[part.row : part.row + count], part.row)
        part.row += count
    if len(taken.inputs) != count:
        raise ValueError(f"{count} rows are asked for, the message has {len(taken.inputs)}")
    return taken


def kernel_name(kernel: str = "auto") -> str:
    """Which implementation the setting `kernel` gives here: "cython" or "reference"."""
    return "reference" if kernel == "reference" or KernelVectorizer is None else "cython"


def kernel_problem(kernel: str) -> str | None:
    """What is wrong with the setting `kernel`: a sentence, or None."""
    if kernel == "cython" and KernelVectorizer is None:
        return (
            "the compiled kernel was not built with this installation; install a C compiler and Python's "
            "headers and then hushar again, or take 'auto' or 'reference'"
        )
    return None


def make_vectorizer(plan: Plan, kernel: str = "auto") -> Vectorizer:
    """The implementation that the setting `kernel` names; "auto": the best that is there.

    Raises:
        ValueError: it is not there; see `kernel_problem`.
    """
    problem = kernel_problem(kernel)
    if problem is not None:
        raise ValueError(problem)
    if kernel == "reference" or KernelVectorizer is None:
        return ReferenceVectorizer(plan)
    return KernelVectorizer(plan)

"""The one door to vectorization: which implementation runs is decided here and nowhere else."""

from collections.abc import Sequence
from typing import NewType, Protocol, cast

from hushar.features import reference
from hushar.features.plan import Plan
from hushar.features.reference import Vectorized
from hushar.proto.structs_pb2 import InferenceRequest

__all__ = ["Request", "Vectorized", "Vectorizer", "make_vectorizer"]

Request = NewType("Request", object)
"""A decoded request, as its Vectorizer knows it; for everyone else a sealed box."""


class Vectorizer(Protocol):
    """Messages in, matrix out. No state between calls; may be used by several threads at once."""

    @property
    def plan(self) -> Plan:
        """What it vectorizes by."""
        ...

    @property
    def name(self) -> str:
        """Which implementation this is: "reference"."""
        ...

    def open(self, message: bytes) -> Request:
        """Read a serialized InferenceRequest.

        Raises:
            UndecodableRequest: the bytes are no InferenceRequest.
        """
        ...

    def rows(self, request: Request) -> int:
        """How many rows a request has; costs nothing once it is open."""
        ...

    def vectorize(self, requests: Sequence[Request]) -> Vectorized:
        """One matrix of all requests. A request with a bad value gets its error and brings no rows."""
        ...


class ReferenceVectorizer:
    """The readable implementation: protobuf objects and numpy."""

    name = "reference"

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def open(self, message: bytes) -> Request:
        """See Vectorizer."""
        return Request(reference.open_request(message))

    def rows(self, request: Request) -> int:
        """See Vectorizer."""
        return len(cast("InferenceRequest", request).inputs)

    def vectorize(self, requests: Sequence[Request]) -> Vectorized:
        """See Vectorizer."""
        return reference.vectorize(self.plan, cast("Sequence[InferenceRequest]", requests))


def kernel_problem(kernel: str) -> str | None:
    """What is wrong with the setting `kernel`: a sentence, or None."""
    if kernel == "cython":
        return "this build of hushar has no compiled kernel; take 'auto' or 'reference'"
    return None


def make_vectorizer(plan: Plan) -> Vectorizer:
    """The best implementation that is there for a plan."""
    return ReferenceVectorizer(plan)

"""Every error of hushar, in one tree.

    HusharError
    ├── ConfigurationError      the user's mistake, found before serving; exit status 2
    ├── StorageError            a URI cannot be read
    ├── RequestError            one call's error: a kind, and a sentence that is safe for its client
    │   ├── UndecodableRequest  INTERNAL: the bytes are no InferenceRequest
    │   ├── InvalidRequest      INVALID_ARGUMENT: a value, or a number of rows, that cannot be served
    │   ├── ModelFailed         INTERNAL: the model could not score the batch
    │   ├── AnswerTooLarge      RESOURCE_EXHAUSTED: the answer is above `server.max_send_bytes`
    │   └── Overloaded          RESOURCE_EXHAUSTED: too much is waiting; when to try again
    └── SinkError               a delivery failed and may be tried again: time-out, 5xx, no route
        ├── SinkRefused         everything is refused until someone acts: credentials, no such bucket
        └── SegmentRefused      this one segment is refused whatever is done: counts as an attempt

Errors have kinds, not gRPC codes; `hushar.services` maps the first to the second. What a client may
see is `str(error)` of a RequestError; details belong in `raise … from` and the server's log.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar


class HusharError(Exception):
    """Base of all errors that hushar raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: which file, which key or feature in it, and what is wrong.

    `key` is a dotted path (`log.rotate_bytes`, `feature_transformations.age.mean`), empty where the
    file as a whole is meant.
    """

    file: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.message) if part)


class ConfigurationError(HusharError):
    """The user's mistakes, all that were found. One line each in `str()`."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StorageError(HusharError):
    """A URI cannot be read. `str()` names the URI and the reason in one sentence."""


class ErrorKind(enum.Enum):
    """What went wrong with a call, in words that a transport can map to its own codes."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    INTERNAL = "INTERNAL"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"


class RequestError(HusharError):
    """One call's error. `str()` is sent to the client: no text of a library, no traceback."""

    kind = ErrorKind.INTERNAL


class UndecodableRequest(RequestError):
    """The message is not a hushar.InferenceRequest. One constant sentence, whatever the cause."""

    kind = ErrorKind.INTERNAL

    def __init__(self) -> None:
        super().__init__("request is not a valid hushar.InferenceRequest")


class InvalidRequest(RequestError):
    """The request decodes but cannot be served: names the feature, the row and the kind."""

    kind = ErrorKind.INVALID_ARGUMENT


class ModelFailed(RequestError):
    """The model raised, or its output does not fit the rows. The details are in the server's log."""

    kind = ErrorKind.INTERNAL

    def __init__(self) -> None:
        super().__init__("the model could not score this request; the server's log says why")


class AnswerTooLarge(RequestError):
    """The answer is larger than `limit` bytes. The transport says the same of other services' answers."""

    kind = ErrorKind.RESOURCE_EXHAUSTED

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is larger than {limit} bytes")


class Overloaded(RequestError):
    """So much is waiting that the call is refused at once.

    `reason`: which limit of the section `batching`, without its `max_`: `queue_rows`, `queue_bytes` or
    `queue_seconds`. `retry_ms`: the expected time until there is room, 1 to 60000. `hasty`: it is the call's
    own deadline that is too near.
    """

    kind = ErrorKind.RESOURCE_EXHAUSTED
    _TEXTS: ClassVar[Mapping[str, str]] = {
        "queue_rows": "too many rows are waiting already",
        "queue_bytes": "too many bytes are waiting already",
        "queue_seconds": "the expected wait is too long",
    }

    def __init__(self, reason: str, retry_ms: int, *, hasty: bool = False) -> None:
        text = "the expected wait is too long for the call's deadline" if hasty else self._TEXTS[reason]
        super().__init__(text)
        self.reason = reason
        self.retry_ms = retry_ms


class SinkError(HusharError):
    """A delivery failed in a way that may pass: time-out, 5xx, refused connection. Tried again."""


class SinkRefused(SinkError):
    """The sink refuses everything until someone acts (credentials, no such bucket). Tried slowly."""


class SegmentRefused(SinkError):
    """The sink refuses this one segment (too large, invalid). Counts against `log.max_attempts`.

    With `rest` the sink has delivered the segment but for this: an uncompressed `InferenceLogs` message of
    `rest_batches` records, which no attempt would ever deliver. It is set aside at once.
    """

    def __init__(self, message: str = "", *, rest: bytes | None = None, rest_batches: int = 0) -> None:
        super().__init__(message)
        self.rest = rest
        self.rest_batches = rest_batches

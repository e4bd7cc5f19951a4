"""What a failed call raises at the client: purerpc's exceptions, and one more."""

from collections.abc import Callable, Mapping
from typing import Final

import purerpc
from purerpc import Status, StatusCode


class ConnectionLostError(purerpc.UnavailableError):  # type: ignore[misc]
    """UNAVAILABLE, and it is not the server that says so: there is none, or the connection broke."""


_CLASSES: Final[Mapping[StatusCode, Callable[[str], purerpc.RpcFailedError]]] = {
    StatusCode.CANCELLED: purerpc.CancelledError,
    StatusCode.UNKNOWN: purerpc.UnknownError,
    StatusCode.INVALID_ARGUMENT: purerpc.InvalidArgumentError,
    StatusCode.DEADLINE_EXCEEDED: purerpc.DeadlineExceededError,
    StatusCode.NOT_FOUND: purerpc.NotFoundError,
    StatusCode.ALREADY_EXISTS: purerpc.AlreadyExistsError,
    StatusCode.PERMISSION_DENIED: purerpc.PermissionDeniedError,
    StatusCode.RESOURCE_EXHAUSTED: purerpc.ResourceExhaustedError,
    StatusCode.FAILED_PRECONDITION: purerpc.FailedPreconditionError,
    StatusCode.ABORTED: purerpc.AbortedError,
    StatusCode.OUT_OF_RANGE: purerpc.OutOfRangeError,
    StatusCode.UNIMPLEMENTED: purerpc.UnimplementedError,
    StatusCode.INTERNAL: purerpc.InternalError,
    StatusCode.UNAVAILABLE: purerpc.UnavailableError,
    StatusCode.DATA_LOSS: purerpc.DataLossError,
    StatusCode.UNAUTHENTICATED: purerpc.UnauthenticatedError,
}


def failure(status: Status, *, lost: bool = False) -> purerpc.RpcFailedError:
    """Purerpc's exception for a status that is not OK. `lost`: it is not the server's."""
    if lost:
        return ConnectionLostError(status.status_message)
    return _CLASSES[status.status_code](status.status_message)

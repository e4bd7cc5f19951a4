"""A raw unary call: message bytes in, message bytes or a status out, no task of its own."""

from typing import Any

import purerpc


class RawCall:
    """One call of a method that was registered with `Server.add_raw_unary`.

    Used in the event loop's thread only. `reply` or `fail` may be called now or later, once; nothing
    happens once the call is over.
    """

    __slots__ = ("_end", "_over", "message", "request", "response", "status")

    def __init__(self, message: bytes, request: Any, end: Any) -> None:
        """`end` is called without arguments as soon as `response` or `status` is set."""
        self.message = message
        self.request = request
        """purerpc's event of the request: metadata, timeout, service and method name."""
        self.response: bytes | None = None
        self.status: purerpc.Status | None = None
        self._end = end
        self._over = False

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for an answer any more."""
        return self._over and self.response is None and self.status is None

    def reply(self, message: bytes, /) -> None:
        """Answer OK."""
        if not self._over:
            self._over = True
            self.response = message
            self._end()

    def fail(self, code: purerpc.StatusCode, text: str) -> None:
        """Answer with another status than OK; `text` is sent to the client."""
        if not self._over:
            self._over = True
            self.status = purerpc.Status(code, text)
            self._end()

    def abandon(self) -> None:
        """The caller has gone; what is answered from now on is not sent."""
        self._over = True

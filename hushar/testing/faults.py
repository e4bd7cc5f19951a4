"""What can go wrong between a client and AWS, each fault a value that a FaultyProxy acts out.

    proxy.inject(SLOW_DOWN, operation="PutObject", times=20)
    proxy.inject(Reset("middle"), key="*.pb")

A fault gets the exchange before anything of it has been read or answered, and does with it what the real
thing would do: read, forward, answer, cut, keep silent.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, Literal, Protocol

from hushar.testing.exchanges import Answer, Request, error_answer

STEPS_A_SECOND: Final = 20
"""How finely Slow divides a second."""


class Exchange(Protocol):
    """One request under way, and its connection."""

    request: Request

    def read(self, size: int | None = None) -> bytes:
        """The body, or the next `size` bytes of it; empty at its end."""

    def forward(self, body: bytes | None = None) -> Answer:
        """Read what is left of the body, pass the request on, as a whole or with another body, and give
        the answer to it."""

    def send(self, data: bytes) -> None:
        """These bytes to the client."""

    def answer(self, answer: Answer) -> None:
        """The whole answer to the client."""

    def close(self) -> None:
        """End the connection in the orderly way (FIN)."""

    def reset(self) -> None:
        """End the connection with a RST: the client gets an error whatever it was doing."""

    def wait(self, seconds: float | None) -> bool:
        """Let time pass; True if the proxy is closed meanwhile."""


class Fault(ABC):
    """Something that happens to a request instead of being answered."""

    @abstractmethod
    def act(self, exchange: Exchange) -> None:
        """Do it."""


@dataclass(frozen=True, slots=True)
class Refuse(Fault):
    """The request is read and answered with an error, in the format of its service."""

    status: int
    code: str
    message: str = "injected"
    clock_ahead_seconds: float = 0.0
    """How far the `Date` of the answer is ahead of the clock (negative: behind)."""
    retry_after_seconds: int | None = None

    def act(self, exchange: Exchange) -> None:
        """See the class."""
        exchange.read()
        headers = [("Date", formatdate(time.time() + self.clock_ahead_seconds, usegmt=True))]
        if self.retry_after_seconds is not None:
            headers.append(("Retry-After", str(self.retry_after_seconds)))
        exchange.answer(error_answer(exchange.request, self.status, self.code, self.message, headers))


@dataclass(frozen=True, slots=True)
class Hang(Fault):
    """No answer. The connection stays open for `seconds` (None: until the proxy is closed)."""

    seconds: float | None = None
    reading: bool = True
    """Whether the body is read before; else a large one does not even get through."""

    def act(self, exchange: Exchange) -> None:
        """See the class."""
        if self.reading:
            exchange.read()
        exchange.wait(self.seconds)
        exchange.close()


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """The connection breaks: before the body is read, in its middle, or after it. Nothing is forwarded."""

    when: Literal["before", "middle", "after"] = "before"

    def act(self, exchange: Exchange) -> None:
        """See the class."""
        if self.when == "middle":
            exchange.read(max(1, exchange.request.body_bytes // 2))
        elif self.when == "after":
            exchange.read()
        exchange.reset()


@dataclass(frozen=True, slots=True)
class LoseAnswer(Fault):
    """The request is done, and the connection breaks before the answer: the client cannot know."""

    def act(self, exchange: Exchange) -> None:
        """See the class."""
        exchange.forward()
        exchange.reset()


@dataclass(frozen=True, slots=True)
class Truncate(Fault):
    """The request is done; of its answer only a share of the body comes, then the connection ends.

    An answer without a body is cut in its head.
    """

    share: float = 0.5

    def act(self, exchange: Exchange) -> None:
        """See the class."""
        answer = exchange.forward()
        head, body = answer.head(), answer.body
        cut = int(len(body) * self.share)
        exchange.send(head + body[:cut] if body else head[: int(len(head) * self.share)])
        exchange.close()


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """Everything works, at so many bytes a second, each way."""

    bytes_per_second: float

    def act(self, exchange: Exchange) -> None:
        """See the class."""
        step = max(1, int(self.bytes_per_second / STEPS_A_SECOND))
        while exchange.read(step):
            if exchange.wait(1 / STEPS_A_SECOND):
                return
        data = exchange.forward().whole()
        for start in range(0, len(data), step):
            exchange.send(data[start : start + step])
            if exchange.wait(1 / STEPS_A_SECOND):
                return


INTERNAL_ERROR: Final = Refuse(500, "InternalError", "We encountered an internal error. Please try again.")
SLOW_DOWN: Final = Refuse(503, "SlowDown", "Please reduce your request rate.")
ACCESS_DENIED: Final = Refuse(403, "AccessDenied", "Access Denied")
EXPIRED_TOKEN: Final = Refuse(400, "ExpiredToken", "The provided token has expired.")
NO_SUCH_BUCKET: Final = Refuse(404, "NoSuchBucket", "The specified bucket does not exist")
INVALID_ARGUMENT: Final = Refuse(400, "InvalidArgument", "Invalid Argument")
ENTITY_TOO_LARGE: Final = Refuse(400, "EntityTooLarge", "Your proposed upload exceeds the maximum size")
THROTTLING: Final = Refuse(400, "Throttling", "Rate exceeded")


def clock_skew(seconds: float = 3600.0) -> Refuse:
    """What S3 answers to a client whose clock is `seconds` behind."""
    message = "The difference between the request time and the current time is too large."
    return Refuse(403, "RequestTimeTooSkewed", message, clock_ahead_seconds=seconds)

"""What an engine tells its driver: small records, complete when they are made.

A unary call that is complete is no event of its own: the call itself stands in the list of events.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StreamBegun:
    """A call whose messages come one by one; its head is `call.head`."""

    call: Any


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message of such a call, or of a response. `wire_bytes` is to be acknowledged once it is taken."""

    call: Any
    message: bytes
    wire_bytes: int


@dataclass(frozen=True, slots=True)
class HalfClosed:
    """The peer will send nothing more on this call."""

    call: Any


@dataclass(frozen=True, slots=True)
class CallAborted:
    """The call is over though its handler has not ended it: reset, refused in the middle, connection lost."""

    call: Any


@dataclass(frozen=True, slots=True)
class HeadersReceived:
    """The response's leading headers, at a client."""

    call: Any


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The response's status and trailing metadata have come, at a client; they are in `call`."""

    call: Any


@dataclass(frozen=True, slots=True)
class PingAcknowledged:
    """The peer has answered a ping of ours."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SettingsAcknowledged:
    """The peer has taken our settings."""


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """The peer begins nothing after `last_stream_id`."""

    last_stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """A connection error: send what is there (GOAWAY is its last frame), then close."""

    code: int
    reason: str

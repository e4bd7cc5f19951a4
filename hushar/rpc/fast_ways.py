"""The way out that nearly every answer takes, and the door of the way in. `_calls.pyx` has compiled twins."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from purerpc import Status, StatusCode

from hushar.rpc import frames as fr
from hushar.rpc import messages as msg

if TYPE_CHECKING:
    from hushar.rpc.answers import AnsweringConnection
    from hushar.rpc.calls import RawCall
    from hushar.rpc.engine import Connection
    from hushar.rpc.header_blocks import Field

_END: Final = fr.END_HEADERS | fr.END_STREAM

take_calls: "Callable[[type[RawCall], Connection, bytes, int], int] | None" = None
"""Works through frames of usual calls ahead of the engine's loop. Only a compiled one is worth the call: what
it does, the loop does."""

read_at_once: "Callable[[type[RawCall], Connection, bytes, float], list[Any] | None] | None" = None
"""`receive_data` by way of that, where no frame has come in part; None, and nothing done, where one has."""


def reply_at_once(connection: "AnsweringConnection", call: "RawCall", message: bytes) -> bool:
    """Answer a call that is not over OK with its only message, in one piece of output; False, and nothing
    done, if it takes more than that: windows, metadata, compression, a client that still sends."""
    size = len(message) + msg.PREFIX_BYTES
    if (
        call.unusual
        or call.receiving
        or size > connection._fast_bytes
        or size > connection.send_window
        or size > call.send_window
    ):
        return False
    context = connection.context
    stream_id = call.id
    connection._out.append(
        context.before_message.pack(
            context.leading_head, fr.END_HEADERS, stream_id, context.leading,
            size << 8 | fr.DATA, 0, stream_id, 0, size - msg.PREFIX_BYTES,
        )
        + message
        + context.after_message.pack(context.trailing_head, _END, stream_id, context.trailing)
    )  # fmt: skip
    connection.send_window -= size
    connection._data_sent += 1
    connection._active = True
    call.over = call.answered = True
    connection._account(call, StatusCode.OK)
    connection._sent_end(call)
    connection._notify()
    return True


def reply_all(calls: "Sequence[RawCall]", messages: Sequence[bytes]) -> tuple[int, ...]:
    """`call.reply(message)` for each; the positions of the calls that are not answered so, see there.

    ValueError if the lengths differ.
    """
    if len(calls) != len(messages):
        raise ValueError(f"{len(calls)} calls and {len(messages)} messages")
    pairs = enumerate(zip(calls, messages, strict=True))
    return tuple([at for at, (call, message) in pairs if not call.reply(message)])


def fail_all(calls: "Sequence[RawCall]", status: Status, trailing: "list[Field] | None" = None) -> None:
    """`call.fail` for each with the same status; calls that are over are skipped.

    `trailing`: metadata to go with it, in the place of the call's own; None leaves that.
    """
    for call in calls:
        if not call.over:
            if trailing is not None:
                call.trailing = trailing
            call.fail(status.status_code, status.status_message)


def take_complete(
    call_type: "type[RawCall]", events: Sequence[Any], complete: "dict[Any, list[RawCall]]"
) -> Sequence[Any]:
    """Sort the complete calls of raw methods among events into `complete`, by route, without those that
    are over. Returns the other events."""
    others = []
    for event in events:
        if type(event) is not call_type:
            others.append(event)
        elif not event.over:
            route = event.head.route
            if route.target is None:  # type: ignore[attr-defined]
                others.append(event)
            else:
                complete.setdefault(route, []).append(event)
    return others

"""Complete calls that wait to be begun, because the answers before them wait for their peer.

A client that asks for much and opens no window would otherwise have the server hold everything that it
asks for. It is read on all the same, since only its WINDOW_UPDATEs can end this; so what it asks for
meanwhile is kept as it came (within the budget of bytes, and with its deadline), which is far less than the
answers are. A client that merely reads slowly sees its calls begin later, and none of them fail.
"""

from typing import Any

from hushar.rpc.calls import RawCall
from hushar.rpc.connection_state import ConnectionState


def park(state: ConnectionState, events: list[Any]) -> list[Any]:
    """Keep the complete calls among what has happened on a connection; returns the rest."""
    others: list[Any] = []
    for event in events:
        (state.parked if type(event) is RawCall else others).append(event)
    return others


def leave(state: ConnectionState) -> list[RawCall]:
    """The calls that are to be begun now, first come, first served; those that are over are forgotten.

    As many as there is room for if all answers are as long as the longest that waits, those of the calls
    under way included; at least one if none is under way or none waits.
    """
    engine = state.engine
    waiting = [call for call in state.parked if not call.over]
    running = engine.running_calls - len(waiting)
    free = engine.send_room - engine.unsent
    room = free // max(1, engine.longest_waiting)
    count = max(room - running, 1 if not running or free == engine.send_buffer else 0)
    state.parked = waiting[count:]
    return waiting[:count]

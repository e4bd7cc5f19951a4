"""The times that a server's connection is held to: what of it is counted in seconds, and when that is over.

Sans-IO: whoever keeps the connections asks once a second, and does what is due.
"""

import math
import random
from dataclasses import dataclass

from hushar.rpc.connection_state import ConnectionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """Times of a connection, in seconds; names and defaults of the section `server`.

    What is asked of them notes in the state what was seen; `now` is trio's clock.
    """

    handshake_seconds: float = 10.0
    idle_seconds: float = 900.0
    keepalive_seconds: float = 7200.0
    keepalive_timeout_seconds: float = 20.0
    max_connection_age_seconds: float | None = None
    max_connection_age_grace_seconds: float = 30.0
    write_stall_seconds: float = 30.0

    def age_limit(self) -> float:
        """`max_connection_age_seconds` with 10 % of jitter, so that clients do not come back all at once."""
        seconds = self.max_connection_age_seconds
        return math.inf if seconds is None else seconds * random.uniform(0.9, 1.1)  # noqa: S311

    def is_due_to_go(self, state: ConnectionState, now: float) -> bool:
        """It is too old, or there was no call for `idle_seconds`; pings are none."""
        engine = state.engine
        if now - state.accepted_at > state.age_limit:
            return True
        if engine.open_streams or engine.lingering or engine.last_stream_id != state.last_stream_id:
            state.last_stream_id = engine.last_stream_id
            state.idle_at = now
            return False
        return now - state.idle_at > self.idle_seconds

    def handshake_is_late(self, state: ConnectionState, now: float) -> bool:
        """TLS, the preface with its SETTINGS, the acknowledgement of ours: each has its time."""
        if state.engine.settings_acknowledged:
            return False
        stage = state.link.established + state.engine.greeted
        if stage > state.stage:
            state.stage = stage
            state.stage_at = now
        return now - state.stage_at > self.handshake_seconds

    def writes_stall(self, state: ConnectionState, now: float) -> bool:
        """What waits for the peer has waited for too long without its taking any."""
        late = state.waits and now - state.progress_at > self.write_stall_seconds
        return late and bool(state.link.pending_bytes or state.engine.waiting_bytes)

    def ping_is_due(self, state: ConnectionState, now: float) -> bool:
        """Nothing has come for `keepalive_seconds`, and no ping is under way."""
        if state.pinged_at is not None and state.active_at >= state.pinged_at:
            state.pinged_at = None
            return False
        return state.pinged_at is None and now - state.active_at > self.keepalive_seconds

    def ping_is_lost(self, state: ConnectionState, now: float) -> bool:
        """Nothing has come since a ping either, for `keepalive_timeout_seconds`."""
        pinged_at = state.pinged_at
        return (
            pinged_at is not None
            and state.active_at < pinged_at
            and now - pinged_at > self.keepalive_timeout_seconds
        )

"""Which values the server's settings may have; hushar's configuration has the same (a test compares).

Sizes are bounded by what RFC 9113 lets a SETTINGS frame or a window say; where it says nothing, by what makes
sense at all. None is allowed where it is the default.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from hushar.rpc import frames as fr
from hushar.rpc.limits import KIB

_COUNT: Final = (1, math.inf)
_WINDOW: Final = (fr.DEFAULT_WINDOW, fr.MAX_WINDOW)
"""A peer has the default window before it has read of ours (section 6.9.2); none is larger (6.9.1)."""

WHOLE: Final[Mapping[str, tuple[float, float]]] = {
    "connection_concurrency": (1, fr.MAX_STREAM_ID),
    "max_connections": _COUNT,
    "max_connections_per_address": _COUNT,
    "max_in_flight": _COUNT,
    "max_in_flight_bytes": _COUNT,
    "max_receive_bytes": (1, fr.MAX_WINDOW - 64 * KIB),
    "max_send_bytes": (1, fr.MAX_WINDOW),
    "max_header_bytes": (1, fr.MAX_WINDOW),
    "max_header_fields": _COUNT,
    "compression_min_bytes": (0, math.inf),
    "stream_window_bytes": _WINDOW,
    "connection_window_bytes": _WINDOW,
    "max_frame_bytes": (fr.MIN_MAX_FRAME, fr.MAX_MAX_FRAME),
    "stream_send_buffer_bytes": _COUNT,
    "connection_send_buffer_bytes": _COUNT,
    "max_continuation_frames": _COUNT,
    "max_settings_entries": _COUNT,
    "max_settings_frames": _COUNT,
    "max_queued_control_frames": _COUNT,
    "max_empty_frames": _COUNT,
    "ping_strikes": (0, math.inf),
    "reset_burst": _COUNT,
    "glitch_burst": _COUNT,
}
"""Whole numbers: the least and the greatest that each may be."""
NOT_NEGATIVE: Final = frozenset(
    {
        "drain_seconds",
        "max_connection_age_grace_seconds",
        "ping_min_seconds",
        "reset_rate",
        "glitch_rate",
    }
)
POSITIVE: Final = frozenset(
    {
        "handshake_seconds",
        "idle_seconds",
        "keepalive_seconds",
        "keepalive_timeout_seconds",
        "max_connection_age_seconds",
        "write_stall_seconds",
    }
)
_OPTIONAL: Final = frozenset(
    {
        "max_connections_per_address",
        "max_in_flight",
        "max_connection_age_seconds",
        "stream_window_bytes",
    }
)


def check_ranges(settings: Mapping[str, Any]) -> None:
    """Raises ValueError that names the first setting, by name, whose value is none that it may have."""
    for name, value in sorted(settings.items()):
        if value is None and name in _OPTIONAL:
            continue
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        is_number = is_whole or isinstance(value, float)
        if name in WHOLE:
            low, high = WHOLE[name]
            if not is_whole or not low <= value <= high:
                span = f"at least {low}" if high == math.inf else f"from {low} to {high}"
                raise ValueError(f"{name} must be a whole number, {span}, not {value!r}")
        elif name in POSITIVE:
            if not is_number or not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, not {value!r}")
        elif name in NOT_NEGATIVE and (not is_number or not 0 <= value < math.inf):
            raise ValueError(f"{name} must be a number, at least 0, not {value!r}")

"""Sleeping by a timer of the system's own.

trio ends a sleep by cancelling it: an exception, its way through the scopes and some forty frames, which a
processor whose caches are cold takes a tenth of a millisecond for. A timer's descriptor becomes readable like
any other.
"""

import ctypes
import os
import struct
import sys
from typing import Final

import trio

_CLOCK_MONOTONIC: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_TIMES: Final = struct.Struct("@llll")
"""`struct itimerspec`: interval and value, seconds and nanoseconds each."""
_LONG_BYTES: Final = 8
"""Of a C long on 64-bit systems. On others the C library may go by the old structure or the new one."""


class Timer:
    """A Linux timerfd: epoll itself waits in whole milliseconds, and up to one too long."""

    def __init__(self) -> None:
        """Raises OSError, AttributeError where there is none."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._set = libc.timerfd_settime
        self._descriptor: int = libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    async def sleep(self, seconds: float) -> None:
        """Wait for so long, which is more than 0. One task at a time."""
        whole = int(seconds)
        times = _TIMES.pack(0, 0, whole, max(1, int((seconds - whole) * 1e9)))
        # Setting it also forgets that it has run out before.
        if self._set(self._descriptor, 0, times, None):
            await trio.sleep(seconds)
        else:
            await trio.lowlevel.wait_readable(self._descriptor)

    def close(self) -> None:
        """Release the descriptor; nobody sleeps any more."""
        os.close(self._descriptor)


def make_timer() -> Timer | None:
    """None where the system has no such timers, and under a clock that is not the system's (in tests)."""
    real = type(trio.lowlevel.current_clock()).__name__ == "SystemClock"
    if not real or sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != _LONG_BYTES:
        return None
    try:
        return Timer()
    except (OSError, AttributeError):
        return None

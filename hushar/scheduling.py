"""How soon the system lets a thread run again that has slept.

A server that waits for calls sleeps most of the time. When a call comes and another thread is on its core,
the scheduler of Linux lets that one go on for its slice, 1 to 3 ms, unless the slice of who wakes is the
shorter one: then it runs first, and runs no more for it, since its share of the core stays what it was.
"""

import ctypes
import os
import platform
import sys
from typing import Any, Final

SLICE_NS: Final = 100_000
"""Nanoseconds: the shortest slice that Linux knows."""

_NUMBERS: Final = {"x86_64": (315, 314), "aarch64": (275, 274)}
"""System calls `sched_getattr` and `sched_setattr`; glibc has names for them since 2.41 only."""
_RESET_ON_FORK: Final = 1


class Attributes(ctypes.Structure):
    """`struct sched_attr` in its first version, sched_setattr(2)."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def ask_for_short_slices(library: Any = None) -> bool:
    """Have this thread run soon after it wakes; False where the system has no such setting.

    Needs no privilege. Threads and processes that it begins later have the system's slices: what they do can
    wait; only a privileged user can change that again. Whoever has given the thread another policy, a higher
    priority or a slice as short, knows better. `library`: the C library, if not the process's own.
    """
    numbers = _NUMBERS.get(platform.machine())
    # A 32-bit process on a 64-bit system has other numbers.
    if sys.platform != "linux" or numbers is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    try:
        call = (library or ctypes.CDLL(None)).syscall
    except (OSError, AttributeError):
        return False
    get, put = map(ctypes.c_long, numbers)
    found = Attributes()
    size = ctypes.sizeof(found)
    if call(get, 0, ctypes.byref(found), size, 0):
        return False
    # Before Linux 6.12 there is none for the usual policy: the runtime is 0.
    if found.policy != os.SCHED_OTHER or found.nice < 0 or found.runtime <= SLICE_NS:
        return False
    found.size = size
    found.flags |= _RESET_ON_FORK
    found.runtime = SLICE_NS
    return not call(put, 0, ctypes.byref(found), 0)

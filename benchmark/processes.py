"""What a process has used so far: CPU time and memory, looked at from outside (Linux)."""

import os
import resource
import time
from pathlib import Path

_SCHEDULED = 2
"""The clock of the kernel's scheduler, in nanoseconds (CPUCLOCK_SCHED)."""


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process, also of those that have ended."""
    # The clock id that clock_getcpuclockid(3) makes; /proc has ticks of 10 ms only.
    return time.clock_gettime(~pid << 3 | _SCHEDULED)


def children_seconds() -> float:
    """User and system time of all children that have ended and been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def reset_peak(pid: int) -> None:
    """Begin `peak_bytes` again with what the process has now. Raises OSError."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_bytes(pid: int) -> int:
    """The most resident memory since `reset_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no VmHWM for process {pid}")

"""How many processors this process may use: its affinity, and the CPU quota of its control groups.

A container's quota is not in the affinity: with a quota of one processor on a machine of 64, a pool
of 64 threads is throttled after a few milliseconds of every period, and each run waits for the rest.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def available_cpus(root: Path = _ROOT) -> int:
    """Processors that are worth a thread, at least 1: the smaller of affinity and quota.

    A quota that is no whole number is rounded down, since the thread above it would be the one that
    gets throttled. `root` is where `proc` and `sys` are looked for.
    """
    return max(1, min([_affinity(), *(int(quota) for quota in _quotas(root))]))


def _affinity() -> int:
    """Where the system knows no affinity (macOS): all processors, or as many as Python was told."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    # Python 3.13 has the first.
    count = getattr(os, "process_cpu_count", os.cpu_count)()
    return 1 if count is None else int(count)


def _quotas(root: Path) -> Iterator[float]:
    """The quota of each control group on the way up from this process's, in processors."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            read, mount = _quota_v2, _mount(root, "cgroup2", None)
        elif "cpu" in controllers.split(","):
            read, mount = _quota_v1, _mount(root, "cgroup", "cpu")
        else:
            continue
        if mount is None:
            continue
        for directory in _upwards(mount, PurePosixPath(group), root):
            quota = read(directory)
            if quota is not None:
                yield quota


def _mount(root: Path, kind: str, controller: str | None) -> tuple[PurePosixPath, PurePosixPath] | None:
    """Where a hierarchy is mounted: (the group that is its root here, the mount point).

    The format is proc_pid_mountinfo(5): `id parent dev root mountpoint options … - type source super`.
    """
    for line in _lines(root / "proc/self/mountinfo"):
        fields = line.split(" ")
        if "-" not in fields or len(fields) < fields.index("-") + 4:
            continue
        separator = fields.index("-")
        options = fields[separator + 3].split(",")
        if fields[separator + 1] == kind and (controller is None or controller in options):
            return PurePosixPath(fields[3]), PurePosixPath(fields[4])
    return None


def _upwards(mount: tuple[PurePosixPath, PurePosixPath], group: PurePosixPath, root: Path) -> Iterator[Path]:
    """The directories of `group` and its parents, up to the mount point.

    Inside a container the group may be named as the host sees it; what is mounted is then the
    group itself.
    """
    mounted, point = mount
    relative = group.relative_to(mounted) if group.is_relative_to(mounted) else PurePosixPath()
    for part in (relative, *relative.parents):
        yield root / point.relative_to("/") / part


def _quota_v2(directory: Path) -> float | None:
    """`cpu.max`: "QUOTA PERIOD" in microseconds, or "max PERIOD" for none."""
    for line in _lines(directory / "cpu.max"):
        quota, _, period = line.partition(" ")
        return None if quota == "max" else int(quota) / int(period)
    return None


def _quota_v1(directory: Path) -> float | None:
    """`cpu.cfs_quota_us` of `cpu.cfs_period_us`; -1 for none."""
    quotas = _lines(directory / "cpu.cfs_quota_us")
    periods = _lines(directory / "cpu.cfs_period_us")
    if not quotas or not periods or int(quotas[0]) < 0:
        return None
    return int(quotas[0]) / int(periods[0])


def _lines(path: Path) -> list[str]:
    """The lines of a file; none where it is missing, as half of these files always are."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []

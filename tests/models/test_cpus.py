"""Affinity and control groups, on a file system made for each case."""

import os
from pathlib import Path

import pytest

from hushar.models.cpus import available_cpus

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
V2_MOUNT = "31 23 0:28 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw"
V1_MOUNTS = (
    "40 31 0:37 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
    "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw shared:3 master:1 - cgroup cgroup rw,cpu,cpuacct",
)


@pytest.fixture
def machine(tmp_path: Path):
    def make(cgroup: str, mounts: tuple[str, ...], files: dict[str, str], mounted: str = "/") -> Path:
        lines = [line.format(root=mounted) for line in mounts]
        written = files | {"proc/self/cgroup": cgroup, "proc/self/mountinfo": "\n".join(lines)}
        for name, text in written.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text + "\n")
        return tmp_path

    return make


def test_without_control_groups_it_is_the_affinity(tmp_path: Path):
    assert available_cpus(tmp_path) == ALL


def test_on_this_machine_it_is_between_one_and_the_affinity():
    assert 1 <= available_cpus() <= ALL


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("max 100000", ALL),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("190000 100000", 1),
        ("6400000 100000", ALL),
    ],
)
def test_version_2(machine, quota: str, cpus: int):
    root = machine("0::/app", (V2_MOUNT,), {"sys/fs/cgroup/app/cpu.max": quota})
    assert available_cpus(root) == cpus


def test_a_parents_quota_holds_for_its_children(machine):
    files = {
        "sys/fs/cgroup/slice/cpu.max": "100000 100000",
        "sys/fs/cgroup/slice/app/cpu.max": "max 100000",
    }
    assert available_cpus(machine("0::/slice/app", (V2_MOUNT,), files)) == 1


@pytest.mark.parametrize(("quota", "cpus"), [("-1", ALL), ("100000", 1)])
def test_version_1(machine, quota: str, cpus: int):
    folder = "sys/fs/cgroup/cpu,cpuacct/app"
    files = {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000"}
    root = machine("5:memory:/app\n1:cpu,cpuacct:/app\n0::/app", V1_MOUNTS, files)
    assert available_cpus(root) == cpus


def test_a_container_sees_its_own_group_at_the_mount_point(machine):
    """The group has the host's name, `/docker/7f`, and that is also what is mounted."""
    folder = "sys/fs/cgroup/cpu,cpuacct"
    files = {f"{folder}/cpu.cfs_quota_us": "100000", f"{folder}/cpu.cfs_period_us": "100000"}
    root = machine("1:cpu,cpuacct:/docker/7f", V1_MOUNTS, files, mounted="/docker/7f")
    assert available_cpus(root) == 1


def test_a_group_outside_of_what_is_mounted_is_judged_by_the_mount_point(machine):
    files = {"sys/fs/cgroup/cpu.max": "100000 100000"}
    assert available_cpus(machine("0::/elsewhere", (V2_MOUNT,), files, mounted="/here")) == 1


def test_a_hierarchy_that_is_not_mounted_limits_nothing(machine):
    assert available_cpus(machine("0::/app", ("no mount at all",), {})) == ALL


class TestWithoutAffinity:
    """macOS has none; nor has it control groups."""

    @pytest.fixture(autouse=True)
    def without(self, monkeypatch):
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        monkeypatch.delattr(os, "process_cpu_count", raising=False)

    @pytest.mark.parametrize(("count", "cpus"), [(6, 6), (None, 1)])
    def test_it_is_what_the_system_has(self, monkeypatch, tmp_path: Path, count: int | None, cpus: int):
        monkeypatch.setattr(os, "cpu_count", lambda: count)
        assert available_cpus(tmp_path) == cpus

    def test_it_is_what_python_was_told(self, monkeypatch, tmp_path: Path):
        """With `-X cpu_count=3`, from Python 3.13 on."""
        monkeypatch.setattr(os, "cpu_count", lambda: 6)
        monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
        assert available_cpus(tmp_path) == 3

    def test_a_quota_holds_all_the_same(self, monkeypatch, machine):
        monkeypatch.setattr(os, "cpu_count", lambda: 6)
        root = machine("0::/app", (V2_MOUNT,), {"sys/fs/cgroup/app/cpu.max": "200000 100000"})
        assert available_cpus(root) == 2

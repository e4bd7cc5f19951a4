"""The soak of scripts/soak.py, for ten seconds; and that it notices what it is there to notice."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "soak.py"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("hushar_soak", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(*arguments):
    """(exit status, lines on standard output)."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc on this system")
    command = [sys.executable, SCRIPT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout.splitlines() + done.stderr.splitlines()


@pytest.mark.slow
def test_nothing_is_left_and_no_call_fails(soak):
    """What an allocator keeps in ten seconds says nothing of a leak, so it is allowed more than usual."""
    status, lines = run("--seconds", "10", "--rate", "40", "--allowance-mib", "16")
    assert status == 0, "\n".join(lines)
    assert lines[-1] == "flat, and no call failed"
    for client in soak.CLIENTS:
        (line,) = [line for line in lines if line.startswith(f"{client} ")]
        assert line.endswith(" 0 failed")
        assert int(line.split()[1].replace(",", "")) > 0


@pytest.mark.slow
def test_memory_that_grows_by_more_than_is_allowed_is_a_failure():
    status, lines = run(
        "--seconds", "2", "--clients", "grpcio", "--allowance-mib", "-1000", "--bytes-a-call", "0"
    )
    assert status == 1
    assert lines[-1].startswith("memory grows: ")


@pytest.fixture
def sample(soak):
    """sample(calls, resident, descriptors=10, tasks=5)."""
    return lambda calls, resident, descriptors=10, tasks=5: soak.Sample(
        calls / 100, calls, resident, descriptors, tasks
    )


class TestVerdict:
    @pytest.fixture
    def verdict(self, soak, sample):
        """verdict(samples, after): with an allowance of 1 MiB and 1 byte a call, after an idle (0, 0)."""

        def judge(samples, after):
            return soak.verdict(samples, sample(0, 0), after, bytes_a_call=1.0, allowance=MIB)

        return judge

    def test_the_slope_is_in_bytes_a_call(self, soak, sample):
        assert soak.slope([sample(calls, 50 * MIB + 3 * calls) for calls in range(0, 10_000, 100)]) == 3
        assert soak.slope([sample(calls, 50 * MIB) for calls in range(0, 10_000, 100)]) == 0
        assert soak.slope([sample(100, 50 * MIB)] * 3) == 0
        assert soak.slope([]) == 0

    def test_what_goes_up_and_down_is_flat(self, sample, verdict):
        samples = [sample(calls, 50 * MIB + calls % 700_000) for calls in range(0, 10_000_000, 1000)]
        assert verdict(samples, sample(10_000_000, 50 * MIB)) == []

    def test_a_few_bytes_a_call_are_a_leak(self, sample, verdict):
        samples = [sample(calls, 50 * MIB + 3 * calls) for calls in range(0, 1_000_000, 1000)]
        (wrong,) = verdict(samples, sample(1_000_000, 53 * MIB))
        assert wrong.startswith("memory grows: 3.00 bytes a call, 2.9 MiB in 999000 calls")

    def test_descriptors_and_tasks_that_are_left_are_named(self, sample, verdict):
        samples = [sample(calls, 50 * MIB) for calls in range(0, 10_000, 100)]
        assert verdict(samples, sample(10_000, 0, descriptors=11, tasks=7)) == [
            "descriptors: 10 before, 11 after",
            "tasks: 5 before, 7 after",
        ]

    def test_where_no_call_was_made_nothing_is_known(self, sample, verdict):
        assert verdict([], sample(0, 0)) == ["no call was made"]
        assert verdict([sample(0, MIB)] * 5, sample(0, MIB)) == ["no call was made"]


def test_failures_of_a_client_and_one_that_did_nothing_are_told(soak):
    with subprocess.Popen([sys.executable, "-c", ""], text=True) as process:
        failed = soak.Client("x", process, {"calls": 3, "failures": 2, "failed": "ValueError: y"})
        assert list(soak.ended(failed)) == ["x: 2 failed, the first with ValueError: y"]
        idle = soak.Client("x", process, {"calls": 0, "failures": 0, "failed": ""})
        assert list(soak.ended(idle)) == ["x: made no call"]

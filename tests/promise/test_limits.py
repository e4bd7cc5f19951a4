"""What a sink that is down may cost: disk up to its limit, then the oldest records, counted; no memory."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from promisekit.calling import Load, eventually
from promisekit.stores import missing, twice

from hushar.testing.faults import INVALID_ARGUMENT, SLOW_DOWN

MIB = 1 << 20


def resident_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def test_as_many_calls_are_answered_with_the_sink_down_as_with_it_up(serve, aws):
    service = serve(aws.uri, log={"acknowledge": "spooled"})
    answered = {}
    for state in ("up", "down"):
        if state == "down":
            aws.proxy.refuse_connections()
        with Load(lambda: service.address, prefix=state, pause=0, limit=2000) as load:
            load.finish()
        assert load.failed == []
        answered[state] = load.answered
    assert len(answered["up"]) == len(answered["down"]) == 2000
    aws.proxy.accept_connections()
    assert service.terminate() == 0
    ids = aws.store.ids()
    assert ids.keys() == answered["up"].keys() | answered["down"].keys()
    assert twice(ids) == {}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc/PID/status")
@pytest.mark.parametrize("acknowledge", ["spooled", "queued"])
def test_the_memory_of_the_server_does_not_grow_while_the_sink_is_down(acknowledge, serve, aws):
    service = serve(aws.uri, log={"acknowledge": acknowledge, "rotate_bytes": MIB, "queue_bytes": 8 * MIB})
    aws.proxy.refuse_connections()

    def call(count):
        with Load(
            lambda: service.address, prefix=str(count), pause=0, limit=count, ballast="b" * 40_000
        ) as load:
            load.finish()
        assert load.failed == []

    call(500)
    before = resident_bytes(service.process.pid)
    call(2500)  # 100 MB
    grown = resident_bytes(service.process.pid) - before
    assert grown < 32 * MIB
    # More than what may be in memory; how much more is a matter of the disk.
    assert sum(path.stat().st_size for path in service.segments()) > 16 * MIB
    service.kill()


def test_a_full_spool_loses_the_oldest_records_and_counts_them(serve, aws):
    service = serve(aws.uri, log={"acknowledge": "spooled", "spool_max_bytes": MIB})
    aws.proxy.refuse_connections()
    with Load(lambda: service.address, pause=0, limit=1500, ballast="b" * 2000) as load:
        load.finish()
    assert len(load.answered) == 1500
    assert sum(path.stat().st_size for path in service.segments()) <= MIB
    aws.proxy.accept_connections()
    assert service.terminate() == 0
    ids = aws.store.ids()
    books = service.books
    assert books["accepted"] == 1500
    assert books["dropped"] == len(missing(load.answered, ids)) > 500
    assert books["delivered"] == len(ids) > 250
    assert twice(ids) == {}
    # The first calls are gone, the last are there. A segment that is being delivered just then is kept.
    in_order = sorted(load.answered, key=load.answered.get)
    first = set(in_order[:500])
    segments = [
        {batch.request_id for batch in logs.inferenceLogBatches} for logs in aws.store.logs().values()
    ]
    assert sum(not first.isdisjoint(segment) for segment in segments) <= 1
    assert set(in_order[-200:]) <= ids.keys()
    assert any("spool_full" in line for line in service.lines)
    verified = service.run("logs", "verify", aws.uri)
    assert verified.returncode == 1
    assert verified.stdout.splitlines()[-1] == f"incomplete: {books['dropped']} of 1500 batches missing"


ALONE = "unshare --user --map-root-user --mount"
PYTHON_ON_A_SMALL_DISK = f"""#!/bin/sh
exec {ALONE} sh -c 'mkdir -p spool && mount -t tmpfs -o size=1m tmpfs spool && exec "$@"' sh {{}} "$@"
"""


@pytest.fixture
def on_a_small_disk(tmp_path, monkeypatch):
    """The servers' working directory has a `spool` that is a file system of one megabyte.

    Each has it for itself, and it goes with the process, whatever becomes of that.
    """
    if shutil.which("unshare") is None or subprocess.run([*ALONE.split(), "true"], check=False).returncode:
        pytest.skip("a process cannot have mounts of its own here")
    python = tmp_path / "python"
    python.write_text(PYTHON_ON_A_SMALL_DISK.format(shlex.quote(sys.executable)))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


@pytest.mark.usefixtures("on_a_small_disk")
@pytest.mark.parametrize("acknowledge", ["spooled", "queued"])
def test_a_full_disk_stops_no_call_and_logging_goes_on_when_there_is_room(acknowledge, serve, aws):
    service = serve(aws.uri, log={"acknowledge": acknowledge})
    aws.proxy.refuse_connections()
    with Load(lambda: service.address, prefix="full", pause=0, limit=1500, ballast="b" * 2000) as load:
        load.finish()
    assert load.failed == []
    aws.proxy.accept_connections()
    eventually(aws.store.ids, "a delivery")
    with Load(lambda: service.address, prefix="later", limit=100) as later:
        later.finish()
    assert service.terminate() == 0
    ids = aws.store.ids()
    books = service.books
    lost = missing({**load.answered, **later.answered}, ids)
    assert books["accepted"] == 1600
    assert books["dropped"] == len(lost) > 0
    assert books["delivered"] == sum(ids.values()) == 1600 - len(lost)
    assert books["spooled"] == 0


def test_a_segment_that_is_refused_goes_to_the_dead_letters_and_can_be_delivered_later(serve, aws):
    service = serve(aws.uri, log={"acknowledge": "spooled", "max_attempts": 3})
    poisoned = []

    def is_poison(request):
        if not poisoned and request.operation == "PutObject":
            poisoned.append(request.key)
        return request.key in poisoned

    rule = aws.proxy.inject(INVALID_ARGUMENT, when=is_poison)
    with Load(lambda: service.address) as load:
        eventually(lambda: service.segments("dead-letter"), "a dead letter")
        load.wait_for_answers(500)
        load.stop()
    assert service.terminate() == 0
    assert load.failed == []
    assert rule.hits == 3
    ids = aws.store.ids()
    lost = missing(load.answered, ids)
    books = service.books
    assert books["dead_lettered"] == len(lost) > 0
    assert books["dropped"] == books["spooled"] == 0

    still = service.run("logs", "deliver", "service.json")
    assert still.returncode == 1, still.stderr
    assert aws.store.ids() == ids
    aws.proxy.clear()
    done = service.run("logs", "deliver", "service.json")
    assert done.returncode == 0, done.stderr
    assert missing(load.answered, aws.store.ids()) == []
    assert twice(aws.store.ids()) == {}
    assert service.segments() == []


def test_what_a_killed_server_has_left_is_delivered_without_a_server(serve, aws):
    service = serve(aws.uri, log={"acknowledge": "spooled"})
    aws.proxy.inject(SLOW_DOWN)
    with Load(lambda: service.address, limit=500) as load:
        load.finish()
        refused = service.run("logs", "deliver", "service.json")
        assert refused.returncode == 2
        assert "spool" in refused.stderr
    service.kill()
    aws.proxy.clear()
    done = service.run("logs", "deliver", "service.json")
    assert done.returncode == 0, done.stderr
    assert aws.store.ids().keys() == load.answered.keys()

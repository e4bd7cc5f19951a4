"""SIGKILL at random points under load, again and again, on the same spool."""

import os
import random
import time
from pathlib import Path

import pytest
from promisekit.calling import Load, eventually
from promisekit.stores import missing, twice

from hushar.testing.faults import Hang, LoseAnswer

KILLS = int(os.environ.get("PROMISE_KILLS", "3"))
"""For CI; PROMISE_KILLS=50 takes a minute or two."""
CHANNEL_SECONDS = 2.0
"""What may be lost with "queued" was answered so shortly before a life's last answer: some 50 ms."""

MIB = 1 << 20


def seconds_before_the_end(load, request_ids):
    """How long before the last answer of the same life each of those was answered."""
    last = {}
    for request_id, address in load.served_by.items():
        last[address] = max(last.get(address, 0.0), load.answered[request_id])
    return [last[load.served_by[request_id]] - load.answered[request_id] for request_id in request_ids]


def assert_kept(load, ids, acknowledge):
    """Each record once; what is missing was answered before the promise begins."""
    assert twice(ids) == {}
    lost = missing(load.answered, ids)
    if acknowledge == "spooled":
        assert lost == []
    else:
        assert [seconds for seconds in seconds_before_the_end(load, lost) if seconds > CHANNEL_SECONDS] == []


@pytest.mark.parametrize(("acknowledge", "compression"), [("spooled", "none"), ("queued", "zstd")])
def test_sigkill_at_any_moment_loses_nothing_that_was_spooled(acknowledge, compression, serve, aws):
    chance = random.Random(acknowledge)
    log = {"acknowledge": acknowledge, "compression": compression, "workers": 2}
    service = serve(aws.uri, log=log)
    with Load(lambda: service.address) as load:
        for _ in range(KILLS):
            load.wait_for_answers(chance.choice([1, 50, 300]))
            time.sleep(chance.random() * 0.3)
            service.kill()
            service.start()
        load.wait_for_answers(100)
        load.stop()
    assert service.terminate() == 0, service.lines
    suffix = {"none": ".pb", "zstd": ".pb.zst"}[compression]
    # Not all: a segment that was closed and not compressed before a kill may have been delivered as it was.
    assert any(key.endswith(suffix) for key in aws.store.logs())
    ids = aws.store.ids()
    assert_kept(load, ids, acknowledge)
    assert set(load.statuses) <= {"UNAVAILABLE"}
    assert service.segments() == []
    verified = service.run("logs", "verify", aws.uri)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.splitlines()[-1] == f"complete: {len(ids)} batches"


def writes_directly(pid):
    """Whether a file of the spool is open for writing past the page cache."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if link.readlink().name.endswith(".open"):
                flags = link.parent.with_name("fdinfo").joinpath(link.name).read_text().split("flags:")[1]
                if int(flags.split()[0], 8) & os.O_DIRECT:
                    return True
        except FileNotFoundError:
            # Closed meanwhile.
            continue
    return False


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="there is no /proc/PID/fdinfo")
@pytest.mark.parametrize("acknowledge", ["spooled", "queued"])
def test_sigkill_in_the_middle_of_writing_much_loses_nothing_that_was_spooled(acknowledge, serve, aws):
    """Where records go to the disk directly, from the memory in which they were made: a write of several
    parts, of which any number may be there."""
    chance = random.Random(acknowledge)
    service = serve(aws.uri, log={"acknowledge": acknowledge, "rotate_bytes": 4 * MIB})
    seen = 0
    with Load(lambda: service.address, pause=0, ballast="x" * 40_000) as load:
        for _ in range(KILLS):
            load.wait_for_answers(chance.choice([100, 150, 200]))
            seen += writes_directly(service.process.pid)
            time.sleep(chance.random() * 0.1)
            service.kill()
            service.start()
        load.wait_for_answers(50)
        load.stop()
    assert service.terminate() == 0, service.lines
    ids = aws.store.ids()
    assert_kept(load, ids, acknowledge)
    assert service.segments() == []
    verified = service.run("logs", "verify", aws.uri)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    if not seen:
        pytest.skip("the file system of the temporary directory does not write directly")


def test_sigkill_between_a_delivery_and_its_answer_leaves_every_object_once(serve, aws):
    service = serve(aws.uri, log={"acknowledge": "spooled", "compression": "gzip"})
    with Load(lambda: service.address) as load:
        # Done and not heard of: the next start delivers the same segment again.
        rule = aws.proxy.inject(LoseAnswer(), operation="PutObject")
        eventually(lambda: rule.hits, "a delivery whose answer is lost")
        service.kill()
        rule.stop()
        service.start()
        load.wait_for_answers(100)
        load.stop()
    assert service.terminate() == 0, service.lines
    ids = aws.store.ids()
    assert missing(load.answered, ids) == []
    assert twice(ids) == {}


def test_sigterm_while_nothing_can_be_delivered_ends_in_time_and_the_next_start_delivers(serve, aws):
    service = serve(aws.uri, log={"drain_seconds": 0.5})
    with Load(lambda: service.address) as load:
        aws.proxy.inject(Hang(), operation="PutObject")
        load.wait_for_answers(300)
        assert service.terminate() == 0, service.lines
        load.stop()
    books = service.books
    assert books["spooled"] == len(load.answered) - books["delivered"] > 0
    assert books["dropped"] == books["dead_lettered"] == 0
    aws.proxy.clear()
    service.start()
    assert service.terminate() == 0
    ids = aws.store.ids()
    assert ids.keys() == load.answered.keys()
    assert twice(ids) == {}


def test_a_store_that_is_not_there_at_the_start_keeps_nobody_from_being_served(serve, aws):
    aws.proxy.refuse_connections()
    service = serve(aws.uri)
    with Load(lambda: service.address, limit=200) as load:
        load.finish()
    assert len(load.answered) == 200
    aws.proxy.accept_connections()
    assert service.terminate() == 0
    assert aws.store.ids().keys() == load.answered.keys()


def test_a_spool_is_delivered_whatever_the_next_start_is_configured_to(serve, aws):
    lives = [
        {"workers": 4, "compression": "none"},
        {"workers": 1, "compression": "zstd"},
        {"workers": 2, "compression": "gzip", "rotate_bytes": 200_000},
    ]
    service = serve(aws.uri, log={"acknowledge": "spooled", **lives[0]})
    rule = aws.proxy.inject(LoseAnswer(), operation="PutObject")
    with Load(lambda: service.address) as load:
        for life in lives[1:]:
            load.wait_for_answers(500)
            met = rule.hits
            eventually(lambda met=met: rule.hits > met, "a delivery that meets the fault")
            service.kill()
            service.configure(log={"acknowledge": "spooled", **life})
            service.start()
        load.wait_for_answers(500)
        load.stop()
    aws.proxy.clear()
    assert service.terminate() == 0, service.lines
    ids = aws.store.ids()
    assert missing(load.answered, ids) == []
    assert twice(ids) == {}
    assert service.segments() == []


def test_a_second_sigterm_ends_the_server_at_once_and_loses_nothing(serve, aws):
    service = serve(aws.uri, log={"acknowledge": "spooled", "drain_seconds": 600})
    aws.proxy.inject(Hang(), operation="PutObject")
    with Load(lambda: service.address) as load:
        load.wait_for_answers(300)
        service.process.terminate()
        eventually(lambda: load.failed, "the first refused call")
        load.stop()
    assert service.terminate() != 0
    aws.proxy.clear()
    service.start()
    assert service.terminate() == 0
    ids = aws.store.ids()
    assert missing(load.answered, ids) == []
    assert twice(ids) == {}

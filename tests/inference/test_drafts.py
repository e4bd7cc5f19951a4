"""Records that are put together in the log's memory: the log has exactly those of the calls answered OK."""

import math
from functools import partial
from random import Random

import pytest
import trio
import trio.testing
from trio.from_thread import run_sync as in_the_loop

from hushar.drafts import Draft, ReadableDraft
from hushar.inference import splice
from hushar.proto import structs_pb2 as pb
from hushar.records import LogBatch
from hushar.sidecars import bundles
from hushar.sidecars.ledger import DropReason, Ledger
from hushar.sidecars.log import LogSidecar
from hushar.sidecars.outlet import LogChannelOutlet
from hushar.sidecars.settings import LogSettings
from hushar.testing import MemoryLogSink

MUCH = 2**30
LONG = 300
"""Of a row's id, with which an answer is too large where answers have a limit."""


class Log:
    """The log's own outlet, and what came through its door; whatever else it has, it took by itself."""

    def __init__(self, **options):
        self.ledger = Ledger(1)
        self.send, self.receive = trio.open_memory_channel(math.inf)
        options = {
            "stages": bundles.Stages(),
            "queue_bytes": MUCH,
            "segment_bytes": MUCH,
            "random": Random(3),
            "clock": lambda: 0.0,
        } | options
        self.outlet = LogChannelOutlet(self.send, self.ledger, **options)
        self.brought = []
        self.bundles = []

    @property
    def draft(self):
        return self.outlet.draft

    def lend(self, size_bytes):
        return self.outlet.lend(size_bytes)

    def settle(self):
        self.outlet.settle()

    def __call__(self, batch):
        self.brought.append(batch.records)
        return self.outlet(batch)

    def take(self):
        """What a worker does first."""
        while self.receive.statistics().current_buffer_used:
            bundle = self.receive.receive_nowait()
            bundle.close()
            self.bundles.append(bundle)

    def spool(self, number=1000):
        """What it does last: whoever waits is told, of so many bundles."""
        self.take()
        for bundle in self.bundles[:number]:
            while bundle.spooled:
                _, spooled = bundle.spooled.pop(0)
                spooled()

    def records(self):
        """Of all bundles; the books are right about them."""
        self.take()
        found = []
        for bundle in self.bundles:
            for index in range(bundle.draft.batches):
                content, number = bundle.draft.between(index, index + 1)
                records = pb.InferenceLogs.FromString(bytes(content)).inferenceLogBatches
                assert len(records) == number > 0
                found += records
        assert self.ledger.queued_records == len(found)
        assert self.ledger.queued_bytes == sum(bundle.size_bytes for bundle in self.bundles)
        return found

    def ids(self):
        return [record.request_id for record in self.records()]


@pytest.fixture(params=["readable", "compiled"])
def implementation(request, monkeypatch):
    """Either implementation of splices and of drafts, which go together."""
    if request.param == "readable":
        monkeypatch.setattr(bundles, "Draft", ReadableDraft)
        return splice.READABLE
    if splice._splice is None or Draft is ReadableDraft:
        pytest.skip(
            "needs tool: a C compiler when hushar is installed (pip install --force-reinstall hushar)"
        )
    return splice.choose("cython")


@pytest.fixture
def make(make_stage, implementation, call):
    """make(log options…, …): a Stage with the log's own outlet; one call has been logged before: from then on
    it may take drafts by itself."""

    def make(log=None, *, first=True, **options):
        log = log or Log()
        options = {"drafting": log} | options
        stage = make_stage(logged=True, splice=implementation, outlet=log, **options)
        stage.log = log
        if first:
            stage.batcher.submit([call(1.0, request_id="first")])
            log.brought.clear()
            stage.runtime.runs.clear()
        return stage

    return make


@pytest.fixture
def works(monkeypatch):
    """works(stage): all that its scorer gets from now on, a list."""

    def of(stage):
        seen = []
        score = stage.scorer.score

        def scoring(work):
            seen.append(work)
            return score(work)

        stage.scorer.score = scoring
        return seen

    return of


class TestWhose:
    """A draft is the event loop's thread's, or the one thread's that it is lent to."""

    def test_at_once_the_scorer_gets_it(self, make, works, call):
        stage = make()
        seen = works(stage)
        stage.batcher.submit([call(1.0, request_id="a"), call(2.0, request_id="b")])
        assert [work.draft for work in seen] == [stage.log.draft]
        assert stage.log.draft is not None
        assert stage.log.brought == []
        assert stage.log.ids() == ["first", "a", "b"]

    async def test_from_the_queue_in_the_loop_too(self, make, works, call):
        stage = make(max_rows=2)
        seen = works(stage)
        stage.queue(*[call(float(at), request_id=f"{at}") for at in range(6)])
        await stage.rest()
        assert [work.draft for work in seen] == [stage.log.draft] * 3
        assert stage.log.brought == []
        assert stage.log.ids() == ["first", *"012345"]

    async def test_in_a_thread_it_is_lent(self, make, works, call):
        stage = make(offload="always", first=False)
        seen, draft = works(stage), stage.log.draft
        for number, own in enumerate("abc"):
            one = call(float(number), request_id=own)
            stage.batcher.submit([one])
            await stage.until(lambda one=one: one.done)
        assert [work.draft for work in seen] == [draft] * 3
        assert stage.log.brought == [(draft,)]
        assert stage.log.ids() == ["a", "b", "c"]

    async def test_several_threads_at_once_have_none(self, make, works, call):
        stage = make(offload="always", first=False, concurrency=2)
        seen = works(stage)
        calls = [call(1.0, request_id=own) for own in "ab"]
        for each in calls:
            stage.batcher.submit([each])
        await stage.until(lambda: all(each.done for each in calls))
        assert {work.draft for work in seen} == {None}
        assert sorted(stage.log.ids()) == ["a", "b"]

    async def test_the_worker_may_take_what_is_lent(self, make, call):
        """And give its memory back: nobody else gets it before the thread is done."""
        stage = make(offload="always", first=False)
        log, stages = stage.log, stage.log.outlet._stages
        one, two = call(1.0, request_id="a"), call(2.0, request_id="b")
        stage.batcher.submit([one])
        await stage.until(lambda: one.done)
        given_back = []

        def meanwhile():
            log.take()
            given_back.append(log.bundles[0].stage)
            stages.give_back(log.bundles[0].stage)
            other = stages.begin(0, MUCH)
            assert other.stage is not given_back[0]
            other.draft.memory[:] = bytes(len(other.draft.memory))
            stages.give_back(other.stage)

        stage.runtime.meanwhile = lambda: in_the_loop(meanwhile)
        stage.batcher.submit([two])
        await stage.until(lambda: two.done)
        assert log.ids() == ["a", "b"]
        assert [bundle.draft.batches for bundle in log.bundles] == [1, 1]
        assert log.bundles[1].stage is given_back[0]

    async def test_others_records_go_elsewhere_meanwhile(self, make, call):
        """As those of a large call whose last slice is done."""
        stage = make(offload="always", first=False)
        batch = pb.InferenceLogBatch(request_id="other")
        other = pb.InferenceLogs(inferenceLogBatches=[batch]).SerializeToString()
        stage.runtime.meanwhile = lambda: in_the_loop(stage.log, LogBatch((other,)))
        calls = [call(1.0, request_id="a"), call(2.0, request_id="b")]
        for each in calls:
            stage.batcher.submit([each])
            await stage.until(lambda each=each: each.done)
            stage.runtime.meanwhile = lambda: None
        assert stage.log.ids() == ["other", "a", "b"]

    async def test_memory_is_not_shared_behind_what_is_lent(self, make, call):
        stages = bundles.Stages()
        # As many in use as there are before memory is shared.
        held = [stages.begin(0, MUCH) for _ in range(4)]
        for bundle in held[:-1]:
            bundle.draft.book(0, len(bundle.draft.memory) - bundle.draft.at)
        stage = make(Log(stages=stages), offload="always", first=False)
        lent = stage.log.outlet._bundle
        shared = []

        def meanwhile():
            stage.log.take()
            shared.append(stages.begin(0, MUCH).stage)

        stage.runtime.meanwhile = lambda: in_the_loop(meanwhile)
        one = call(1.0, request_id="a")
        stage.batcher.submit([one])
        await stage.until(lambda: one.done)
        assert shared[0] is not lent.stage

    async def test_where_there_is_no_room_for_a_large_batch_a_new_bundle_begins(self, make, works, call):
        stage = make(offload="always", first=False)
        seen, long = works(stage), "r" * 3_000_000
        ids = [f"{number}{long}" for number in range(4)]
        for own in ids:
            one = call(1.0, request_id=own)
            stage.batcher.submit([one])
            await stage.until(lambda one=one: one.done)
        assert None not in [work.draft for work in seen]
        assert bytes not in [type(piece) for records in stage.log.brought for piece in records]
        assert stage.log.ids() == ids
        assert [bundle.draft.batches for bundle in stage.log.bundles] == [2, 2]

    async def test_what_fits_in_no_memory_is_bytes(self, make, works, call):
        stage = make(offload="always", first=False)
        one = call(1.0, request_id="r" * 9_000_000)
        stage.batcher.submit([one])
        await stage.until(lambda: one.done)
        assert [[type(piece) for piece in records] for records in stage.log.brought] == [[bytes]]
        assert stage.log.ids() == [one.response.request_id]

    @pytest.mark.parametrize("drafting", ["nobody", "a sampled log"])
    def test_where_there_are_none_all_records_are_bytes(self, make, works, call, drafting):
        log = Log(sample_rate=0.999999) if drafting == "a sampled log" else Log()
        stage = make(log, **({"drafting": None} if drafting == "nobody" else {}))
        seen = works(stage)
        stage.batcher.submit([call(1.0, request_id="a")])
        assert [work.draft for work in seen] == [None]
        assert [type(piece) for records in log.brought for piece in records] == [bytes]
        assert log.ids() == ["first", "a"]

    def test_a_rehearsal_leaves_no_trace_in_it(self, make):
        stage = make()
        before = bytes(stage.log.draft.memory[:4096])
        stage.batcher.rehearse()
        assert bytes(stage.log.draft.memory[:4096]) == before
        assert stage.log.ids() == ["first"]

    def test_calls_that_come_while_answers_leave_are_logged_behind_those(self, make, call):
        """Sending makes room, and calls that have waited for that begin at once: see Server.flush."""
        stage, later = make(), [call(number, request_id=name) for number, name in ((3.0, "c"), (2.0, "b"))]
        replied = []

        def flush():
            replied.append(len(stage.out.replied))
            if later:
                stage.batcher.submit([later.pop()])

        stage.batcher.on_answered = flush
        before = len(stage.out.replied)
        stage.batcher.submit([call(1.0, request_id="a")])
        assert [number - before for number in replied] == [1, 2, 3]
        assert stage.log.ids() == ["first", "a", "b", "c"]

    def test_the_first_batch_is_brought_as_a_draft_and_stays_where_it_is(self, make, call):
        stage = make(first=False)
        draft = stage.log.draft
        stage.batcher.submit([call(1.0, request_id="a")])
        assert stage.log.brought == [(draft,)]
        assert stage.log.ids() == ["a"]
        assert stage.log.bundles[0].draft is draft

    def test_the_scorer_gets_the_draft_of_the_bundle_that_is_filled(self, make, works, call):
        stage = make()
        seen = works(stage)
        stage.batcher.submit([call(1.0, request_id="a")])
        stage.log.take()
        # Spliced into the one that is taken, but not there for its receiver.
        stage.batcher.submit([call(2.0, request_id="b")])
        stage.batcher.submit([call(3.0, request_id="c")])
        assert [work.draft is seen[0].draft for work in seen] == [True, True, False]
        assert [len(records) for records in stage.log.brought] == [1]
        assert stage.log.bundles[0].draft.batches == 2
        assert stage.log.ids() == ["first", "a", "b", "c"]


def over(stage, calls):
    """It ends while the model runs."""
    stage.runtime.meanwhile = lambda: setattr(calls[1], "over", True)


def choked(stage, calls):
    """The transport refuses its answer."""
    calls[1].choked = True


def too_large(stage, calls):
    """Its answer is."""
    stage.scorer._max_answer_bytes = LONG


WAYS = {
    "is over": (over, {}, {"CANCELLED": 1}),
    "is refused by the transport": (choked, {}, {"RESOURCE_EXHAUSTED": 1}),
    "has too large an answer": (too_large, {"row_ids": ["r" * LONG]}, {"RESOURCE_EXHAUSTED": 1}),
    "has an error of its own": (lambda *_: None, {"row_ids": ["bad"]}, {"INVALID_ARGUMENT": 1}),
    "fails the vectorizer": (lambda *_: None, {"row_ids": ["ugly"]}, {"INTERNAL": 1}),
    "fails the model": (lambda *_: None, {"value": -1.0}, {"INTERNAL": 1}),
}


@pytest.fixture(params=WAYS)
def way(request, call):
    """way(stage, ids): a call for each id, of which the second is not answered OK; and what is counted."""

    def make(stage, ids):
        prepare, how, failed = WAYS[request.param]
        how = dict(how)
        value = how.pop("value", 5.0)
        calls = [
            call(value, request_id=own, **how) if at == 1 else call(float(at), request_id=own)
            for at, own in enumerate(ids)
        ]
        prepare(stage, calls)
        return calls, failed

    return make


def pad(call, size):
    """Make its record larger, and not its answer."""
    request = pb.InferenceRequest.FromString(call.message)
    request.inputs[0].features["pad"].string_value = "p" * size
    call.message = request.SerializeToString()


class TestLost:
    """A batch one of whose calls is not answered OK: what was spliced is not what is logged."""

    @pytest.mark.parametrize("first", [True, False])
    @pytest.mark.parametrize("padding", [0, 3000])
    def test_the_others_are_logged_and_nothing_of_it(self, make, call, way, first, padding):
        stage = make(first=first)
        calls, failed = way(stage, ["a", "lost", "b"])
        pad(calls[2], padding)
        stage.batcher.submit(calls)
        assert [each.response is not None for each in calls] == [True, False, True]
        stage.runtime.meanwhile = lambda: None
        stage.batcher.submit([call(7.0, request_id="last")])
        assert stage.log.ids() == ["first"] * first + ["a", "b", "last"]
        assert stage.out.failed == failed
        assert stage.out.answered == 3 + first

    def test_alone_it_leaves_nothing(self, make, call, way):
        stage = make()
        before = stage.log.draft.at
        (_, lost, *_), failed = way(stage, ["a", "lost"])
        stage.batcher.submit([lost])
        assert lost.response is None
        assert (stage.log.draft.at, stage.log.brought) == (before, [])
        stage.runtime.meanwhile = lambda: None
        stage.batcher.submit([call(7.0, request_id="last")])
        assert stage.log.ids() == ["first", "last"]
        assert stage.out.failed == failed

    async def test_from_the_queue(self, make, call, way):
        stage = make()
        calls, failed = way(stage, ["a", "lost", "b"])
        stage.queue(*calls)
        await stage.rest()
        assert stage.log.ids() == ["first", "a", "b"]
        assert stage.out.failed == failed

    async def test_one_that_is_late(self, make, call, mock_clock):
        stage, now = make(), trio.current_time()
        late, here = call(1.0, deadline=now + 1, request_id="late"), call(2.0, request_id="here")
        stage.runtime.meanwhile = lambda: mock_clock.jump(2)
        stage.batcher.submit([late, here])
        assert stage.log.ids() == ["first", "here"]
        assert stage.out.failed == {"CANCELLED": 1}

    def test_all_of_them(self, make, call):
        stage = make()
        calls = [call(float(at), request_id="lost") for at in range(4)]
        calls[0].choked = calls[2].choked = True

        def meanwhile():
            calls[1].over = calls[3].over = True

        stage.runtime.meanwhile = meanwhile
        stage.batcher.submit(calls)
        assert stage.log.brought == []
        assert stage.log.ids() == ["first"]
        assert stage.out.failed == {"CANCELLED": 2, "RESOURCE_EXHAUSTED": 2}

    def test_after_a_failing_model_the_halves_are_logged_in_their_order(self, make, works, call):
        stage = make()
        seen = works(stage)
        calls = [call(-1.0 if at in {2, 5} else float(at), request_id=f"{at}") for at in range(8)]
        stage.batcher.submit(calls)
        assert [work.draft is not None for work in seen] == [True] + [False] * (len(seen) - 1)
        assert stage.log.ids() == ["first", *"013467"]
        assert len(stage.log.brought) == 1

    def test_what_was_spliced_before_the_scorer_failed_is_nobodys(self, make, call, monkeypatch):
        """Everything is in the draft already when the last step fails: all is tried again, in bytes."""
        stage = make()
        whole, failing = stage.scorer._splice.whole, [True]

        def fails_at_last(messages, rows, scores, log, draft, layout):
            made = whole(messages, rows, scores, log, draft, layout)
            if draft is not None and failing:
                failing.clear()
                assert made[1] == [draft]
                raise RuntimeError
            return made

        stage.scorer._splice = splice.Splice(fails_at_last, stage.scorer._splice.part)
        stage.batcher.submit([call(1.0, request_id="a"), call(2.0, request_id="b")])
        stage.batcher.submit([call(3.0, request_id="c")])
        assert not failing
        assert stage.log.ids() == ["first", "a", "b", "c"]


class TestSpooled:
    """The answers wait for the spool."""

    def test_they_leave_with_it_and_the_records_are_where_they_were_spliced(self, make, call):
        stage = make(spooled=True, first=False)
        draft = stage.log.draft
        calls = [call(1.0, request_id="a"), call(2.0, request_id="b")]
        stage.batcher.submit(calls[:1])
        stage.batcher.submit(calls[1:])
        assert [each.done for each in calls] == [False, False]
        # Each is brought: who waits cannot be told otherwise.
        assert stage.log.brought == [(draft,), (draft,)]
        assert stage.log.ids() == ["a", "b"]
        assert [bundle.draft for bundle in stage.log.bundles] == [draft]
        stage.log.spool()
        assert [each.scores for each in calls] == [[2.0], [4.0]]

    def test_who_is_over_or_refused_meanwhile_stays_in_the_log(self, make, call):
        stage = make(spooled=True, first=False)
        calls = [call(float(at), request_id=f"{at}") for at in range(3)]
        calls[1].choked = True
        stage.batcher.submit(calls)
        calls[2].over = True
        stage.log.spool()
        assert [each.response is not None for each in calls] == [True, False, False]
        assert stage.log.ids() == ["0", "1", "2"]
        assert stage.out.failed == {"CANCELLED": 1, "RESOURCE_EXHAUSTED": 1}

    def test_who_is_lost_before_is_not_logged(self, make, call, way):
        stage = make(spooled=True, first=False)
        calls, failed = way(stage, ["a", "lost", "b"])
        expected = ["a", "b"] if not calls[1].choked else ["a", "lost", "b"]
        stage.batcher.submit(calls)
        stage.runtime.meanwhile = lambda: None
        stage.batcher.submit([call(7.0, request_id="last")])
        stage.log.spool()
        assert stage.log.ids() == [*expected, "last"]
        assert [each.response is not None for each in calls] == [True, False, True]
        assert stage.out.failed == failed

    def test_after_the_bundle_was_taken_they_are_in_the_next(self, make, call):
        stage = make(spooled=True, first=False)
        one, other = call(1.0, request_id="a"), call(2.0, request_id="b")
        stage.batcher.submit([one])
        stage.log.take()
        stage.batcher.submit([other])
        stage.log.spool(1)
        assert (one.done, other.done) == (True, False)
        stage.log.spool()
        assert other.done
        assert [bundle.draft.batches for bundle in stage.log.bundles] == [1, 1]
        assert stage.log.ids() == ["a", "b"]

    def test_a_full_log_holds_up_nobody(self, make, call):
        stage = make(Log(queue_bytes=10), spooled=True, first=False)
        one = call(1.0)
        stage.batcher.submit([one])
        assert one.scores == [2.0]
        assert stage.log.ids() == []
        assert stage.log.ledger.dropped[DropReason.QUEUE_FULL] == 1


class TestFull:
    def test_what_has_no_room_is_dropped_whole_and_counted_and_the_calls_are_answered(self, make, call):
        stage = make()
        room = 3 * stage.log.draft.at
        stage = make(Log(queue_bytes=room))
        calls = [call(float(at), request_id=f"{at:05}") for at in range(10)]
        for each in calls:
            stage.batcher.submit([each])
        assert all(each.done for each in calls)
        logged = stage.log.ids()
        assert logged == ["first", "00000", "00001"]
        assert stage.log.ledger.dropped[DropReason.QUEUE_FULL] == 8
        assert stage.log.ledger.accepted == 11

    def test_what_is_dropped_is_written_over(self, make, call):
        stage = make()
        stage = make(Log(queue_bytes=2 * stage.log.draft.at))
        stage.batcher.submit([call(*[1.0] * 50, request_id="long")])
        stage.batcher.submit([call(2.0, request_id="short")])
        assert stage.log.ids() == ["first", "short"]

    def test_a_log_that_has_ended(self, make, call):
        stage = make()
        stage.log.take()
        stage.log.receive.close()
        calls = [call(1.0), call(2.0)]
        for each in calls:
            stage.batcher.submit([each])
        assert all(each.done for each in calls)
        assert stage.log.ledger.dropped[DropReason.QUEUE_FULL] == 2

    def test_larger_than_what_is_left_of_the_memory(self, make, call, monkeypatch):
        monkeypatch.setattr(bundles, "BUNDLE_BYTES", 8192)
        stage = make()
        ids = [f"{at}" * 700 for at in range(10)] * 4
        for own in ids:
            stage.batcher.submit([call(1.0, request_id=own)])
        assert stage.log.ids() == ["first", *ids]
        assert len(stage.log.bundles) > 3
        assert len(stage.log.brought) < len(ids)


class TestLarge:
    async def test_calls_beside_its_slices_are_drafts_and_it_comes_after_them(self, make, call):
        stage = make(max_rows=4)
        large = call(*range(12), request_id="large")
        small = [call(1.0, request_id=f"{at}") for at in range(3)]
        stage.queue(large, *small)
        await stage.rest()
        assert large.scores == [2.0 * at for at in range(12)]
        assert [type(piece) for records in stage.log.brought for piece in records] == [bytes]
        ids = stage.log.ids()
        assert sorted(ids) == ["0", "1", "2", "first", "large"]
        rows = {record.request_id: len(record.inference_log_rows) for record in stage.log.records()}
        assert rows["large"] == 12

    async def test_a_slice_that_fails_does_not_log_those_beside_it_twice(self, make, call, caplog):
        stage = make(max_rows=4)
        large = call(1.0, 2.0, 3.0, -1.0, 5.0, 6.0, request_id="large")
        small = [call(1.0, request_id=f"{at}") for at in range(4)]
        stage.queue(large, *small)
        await stage.rest()
        assert large.error is not None
        assert sorted(stage.log.ids()) == ["0", "1", "2", "3", "first"]


class TestSidecar:
    """The same with the log itself: files, and a sink."""

    @pytest.mark.parametrize(
        ("settings", "offload"),
        [
            ({}, "never"),
            ({}, "always"),
            ({"rotate_bytes": 10_000}, "never"),
            ({"rotate_bytes": 10_000, "workers": 3}, "never"),
        ],
        ids=["one segment", "in threads", "many segments", "many workers"],
    )
    @pytest.mark.parametrize("spooled", [False, True])
    async def test_every_call_answered_ok_is_delivered_once_and_no_other(
        self, make_stage, implementation, call, tmp_path, settings, offload, spooled
    ):
        random, sink, calls = Random(11), MemoryLogSink(), []
        settings = LogSettings(**({"spool_min_free_bytes": 0, "fsync": "never"} | settings))
        sidecar = LogSidecar(settings, sink, tmp_path / "spool", instance="t", random=Random(7))
        log = sidecar.outlet
        stage = make_stage(
            logged=True, splice=implementation, outlet=log, drafting=log, offload=offload, spooled=spooled
        )
        stage.scorer._max_answer_bytes = LONG
        async with trio.open_nursery() as nursery:
            await nursery.start(sidecar.run)
            async with trio.open_nursery() as serving:
                await serving.start(stage.batcher.run)
                for _ in range(60):
                    ids = [f"{len(calls) + at}" for at in range(random.randint(1, 9))]
                    some = [any_call(call, random, own) for own in ids]
                    calls += some
                    gone = random.choice(some) if random.random() < 0.3 else None
                    stage.runtime.meanwhile = partial(end, gone)
                    stage.batcher.submit(some)
                    if random.random() < 0.5:
                        await trio.sleep(0.0005)
                with trio.fail_after(30):
                    while not all(each.over for each in calls):  # noqa: ASYNC110 - it has no event
                        await trio.sleep(0.001)
                serving.cancel_scope.cancel()
            sidecar.close()
        answered = [each for each in calls if each.response is not None]
        logged = {batch.request_id: batch for batch in sink.batches}
        assert len(logged) == len(sink.batches)
        expected = {each.response.request_id for each in answered}
        if spooled:
            # Those that were lost while they waited for the spool are there too.
            without_error = {request_id(each) for each in calls if each.error is None}
            assert expected <= set(logged) <= without_error
        else:
            assert set(logged) == expected
        for each in answered:
            rows = logged[each.response.request_id].inference_log_rows
            assert [list(row.scores)[1:] for row in rows] == [[score] for score in each.scores]
        assert 100 < len(answered) < len(calls)

    async def test_memory_that_is_used_again_and_again_keeps_every_record(
        self, make_stage, implementation, call, tmp_path, monkeypatch
    ):
        """Taken, written and given back while a thread puts records behind what was there."""
        monkeypatch.setattr(bundles, "BUNDLE_BYTES", 2**16)
        random, sink = Random(5), MemoryLogSink()
        settings = LogSettings(spool_min_free_bytes=0, fsync="never")
        sidecar = LogSidecar(
            settings, sink, tmp_path / "spool", instance="t", random=Random(7), gather_seconds=0.001
        )
        log = sidecar.outlet
        stage = make_stage(logged=True, splice=implementation, outlet=log, drafting=log, offload="always")
        calls = []
        async with trio.open_nursery() as nursery:
            await nursery.start(sidecar.run)
            async with trio.open_nursery() as serving:
                await serving.start(stage.batcher.run)
                for number in range(300):
                    calls.append(call(1.0, request_id=f"{number}:" + "r" * random.choice([10, 9000, 24_000])))
                    stage.batcher.submit(calls[-1:])
                    await trio.sleep(random.choice([0, 0, 0.004]))
                with trio.fail_after(30):
                    while not all(each.over for each in calls):  # noqa: ASYNC110 - it has no event
                        await trio.sleep(0.001)
                serving.cancel_scope.cancel()
            sidecar.close()
        assert [batch.request_id for batch in sink.batches] == [each.response.request_id for each in calls]


def any_call(call, random, own):
    """Mostly an ordinary call; else one of those that fail."""
    chance = random.random()
    if chance < 0.03:
        return call(-1.0, request_id=own)
    if chance < 0.06:
        return call(1.0, request_id=own, row_ids=["bad"])
    if chance < 0.09:
        return call(1.0, request_id=own, row_ids=["r" * LONG])
    made = call(*[random.random() for _ in range(random.randint(0, 4))], request_id=own)
    made.choked = chance < 0.12
    return made


def end(gone):
    """It ends, unless it has."""
    if gone is not None:
        gone.over = True


def request_id(call):
    return pb.InferenceRequest.FromString(call.message).request_id

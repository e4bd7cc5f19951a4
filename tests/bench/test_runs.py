"""Whole runs against servers in the same process. Figures are counted, times only bounded from below."""

import http.server
import ssl
import threading
from dataclasses import replace

import numpy as np
import pytest
import trio
import trustme
from purerpc import StatusCode

from hushar.bench import runs
from hushar.bench.generator import OpenLoop
from hushar.bench.options import Load
from hushar.bench.recording import Histogram
from hushar.bench.runs import GRACE_SECONDS, Context, RunResult, _limits, measure
from hushar.client.address import Address
from hushar.rpc import Server
from hushar.rpc.client_errors import ConnectionLostError

pytestmark = pytest.mark.slow

PATH = "/hushar.Hushar/InferenceService"


async def test_an_open_loop_sends_what_the_schedule_has(serve, setup_for):
    result = await measure(setup_for(await serve()), Load(rate=200), Context())
    assert result.sent + result.unsent == 60
    assert result.statuses == {"OK": result.sent}
    assert result.latency.count == 60
    assert (result.load.mode, result.seconds, result.connections) == ("open", 0.3, 2)
    assert result.calls_per_second == result.statuses["OK"] / result.seconds
    assert len(result.ok_slots) == 3
    assert result.connected
    assert not result.interrupted
    assert result.server_stages is None


async def test_the_first_and_the_last_call_of_a_slow_rate_are_sent(serve, setup_for):
    setup = setup_for(await serve(), warmup_seconds=0)
    result = await measure(setup, Load(rate=1), Context())
    assert (result.sent, result.statuses) == (1, {"OK": 1})


@pytest.mark.parametrize("rate", [0.7, 10, 333, 1000, 4001, 8000])
@pytest.mark.parametrize("begin", [1.1, 123456.789])
def test_a_window_has_as_many_calls_as_its_rate_says(monkeypatch, setup_for, rate, begin):
    made = []

    class Made(Exception):
        pass

    def generator(setup, load, recorder, at):
        times = np.array(make(setup, load, recorder, at)._schedule.times(0, 10**6))
        made.append(((times >= recorder.window.begin) & (times < recorder.window.end)).sum())
        raise Made

    make = runs._generator
    monkeypatch.setattr(runs, "_generator", generator)
    monkeypatch.setattr(runs.trio, "current_time", lambda: begin)
    coroutine = runs._measured(setup_for(1, seconds=2, warmup_seconds=1), Load(rate=rate), Context(), None)
    with pytest.raises(Made):
        coroutine.send(None)
    assert made == [pytest.approx(2 * rate, abs=0.99 if rate == 0.7 else 0)]


async def test_a_run_over_tls(serve, setup_for, tmp_path):
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    setup = setup_for(await serve(ssl_context=server_side))
    target = replace(setup.target, ssl_context=client_side, server_hostname="localhost")
    result = await measure(replace(setup, target=target), Load(concurrency=2), Context())
    assert result.statuses == {"OK": result.sent}


async def test_a_closed_loop_has_so_many_calls_at_a_time(serve, setup_for):
    under_way, most = 0, 0

    async def answer(call):
        nonlocal under_way
        await trio.sleep(0.005)
        under_way -= 1
        call.reply(b"answer")

    def on_calls(calls):
        nonlocal under_way, most
        under_way += len(calls)
        most = max(most, under_way)
        for call in calls:
            token.append(call)

    token = []

    async with trio.open_nursery() as nursery:

        async def pump():
            while True:
                while token:
                    nursery.start_soon(answer, token.pop())
                await trio.sleep(0.001)

        nursery.start_soon(pump)
        result = await measure(setup_for(await serve(on_calls)), Load(concurrency=7), Context())
        nursery.cancel_scope.cancel()
    assert most == 7
    assert result.load.mode == "closed"
    assert result.statuses == {"OK": result.sent}
    assert result.sent > 7
    assert result.latency.least >= 0.005


async def test_calls_of_a_closed_loop_are_spread_over_the_connections(serve, setup_for):
    seen = {}

    def on_calls(calls):
        for call in calls:
            seen.setdefault(id(call.connection), 0)
            seen[id(call.connection)] += 1
            call.reply(b"answer")

    await measure(setup_for(await serve(on_calls), connections=3), Load(concurrency=3), Context())
    assert len(seen) == 3


async def test_statuses_are_counted_and_the_first_message_is_kept(serve, setup_for):
    number = 0

    def on_calls(calls):
        nonlocal number
        for call in calls:
            number += 1
            if number % 3:
                call.reply(b"answer")
            else:
                call.fail(StatusCode.INVALID_ARGUMENT, "a bad row")

    result = await measure(setup_for(await serve(on_calls)), Load(concurrency=2), Context())
    assert set(result.statuses) == {"OK", "INVALID_ARGUMENT"}
    assert next(iter(result.statuses)) == "OK"
    assert result.ended == result.sent
    assert result.messages == {"INVALID_ARGUMENT": "a bad row"}
    assert result.error_rate == pytest.approx(1 / 3, abs=0.1)
    assert result.failed_slots.sum() > 0
    # What the server refuses is no latency of its answers.
    assert result.latency.count == result.statuses["OK"]


class Stalling:
    """Answers at once, but not for `seconds` from the first call on that comes `after` seconds."""

    def __init__(self, after, seconds):
        self._after, self._seconds = after, seconds
        self._held = []
        self._first = self._until = None

    def __call__(self, calls):
        now = trio.current_time()
        self._first = self._first or now
        if self._until is None and now >= self._first + self._after:
            self._until = now + self._seconds
        self._held += calls
        if self._until is None or now >= self._until:
            self.release()

    def release(self):
        held, self._held = self._held, []
        for call in held:
            call.reply(b"answer")

    async def run(self, *, task_status):
        task_status.started()
        while True:
            await trio.sleep(0.005)
            if self._until is not None and trio.current_time() >= self._until:
                self.release()


async def test_an_open_loop_shows_a_stall_and_a_closed_one_nearly_forgets_it(serve, setup_for, nursery):
    """Coordinated omission: a quarter of the calls that were meant wait up to a second."""
    results = {}
    for load in (Load(rate=200), Load(concurrency=1)):
        stalling = Stalling(0.5, 1.0)
        await nursery.start(stalling.run)
        setup = setup_for(await serve(stalling, connection_concurrency=10), seconds=2.0)
        results[load.mode] = (await measure(setup, load, Context())).latency
    opened, closed = results["open"], results["closed"]
    assert opened.count == 400
    assert opened.percentile(0.9) > 0.5
    assert opened.greatest >= 0.98
    # One call of the closed loop met the stall.
    assert closed.greatest >= 0.98
    assert closed.percentile(0.9) < 0.5


async def test_waiting_for_a_free_stream_counts(serve, setup_for):
    async def run_slow(*, task_status):
        task_status.started()
        while True:
            await trio.sleep(0.1)
            for call in held[:]:
                held.remove(call)
                call.reply(b"answer")

    held = []
    async with trio.open_nursery() as nursery:
        await nursery.start(run_slow)
        port = await serve(held.extend, connection_concurrency=1)
        setup = setup_for(port, connections=1, warmup_seconds=0, seconds=0.5)
        result = await measure(setup, Load(rate=50), Context())
        nursery.cancel_scope.cancel()
    # At most one call each 0.1 s; those that were never sent have waited too.
    assert result.sent <= 6
    assert result.sent + result.unsent == 25
    assert result.latency.count == 25
    assert result.latency.greatest > 0.2
    assert result.limited
    assert "never sent: all streams of its 1 connections were taken" in result.limits[0]


async def test_a_rate_beyond_all_means_ends_and_nothing_is_begun_after_the_end(serve, setup_for, monkeypatch):
    counted = []
    add = Histogram.add

    def noted(self, values, counts=None):
        counted.append(len(values) if counts is not None else 0)
        add(self, values, counts)

    monkeypatch.setattr(Histogram, "add", noted)
    # A lower grace than the default: without the mend calls would be begun as long as it lasts.
    monkeypatch.setattr("hushar.bench.runs.GRACE_SECONDS", 0.5)
    served = 0

    def on_calls(calls):
        nonlocal served
        served += len(calls)
        for call in calls:
            call.reply(b"answer")

    setup = setup_for(await serve(on_calls), warmup_seconds=0)
    result = await measure(setup, Load(rate=1e8), Context())
    assert served == result.sent
    assert result.sent + result.unsent == 30_000_000
    assert result.statuses == {"OK": result.sent}
    assert result.latency.count == 30_000_000
    assert "of the calls were never sent: its core was busy" in result.limits[0]
    # They are counted by the moments they are meant for, not one by one.
    assert 0 < sum(counted) <= 301


async def test_what_the_warm_up_could_not_begin_does_not_hold_up_the_window(
    serve, setup_for, nursery, monkeypatch
):
    held, served = [], []
    begun = trio.Event()
    window_begins = OpenLoop.window_begins

    def noted(self):
        window_begins(self)
        begun.set()

    def on_calls(calls):
        served.extend(calls)
        held.extend(calls)

    async def answer_behind_the_warm_up():
        # Until then the calls of the warm-up wait, of which one was begun.
        await begun.wait()
        while True:
            while held:
                held.pop().reply(b"answer")
            await trio.sleep(0.001)

    monkeypatch.setattr(OpenLoop, "window_begins", noted)
    monkeypatch.setattr("hushar.bench.runs.GRACE_SECONDS", 0.5)
    port = await serve(on_calls, connection_concurrency=1)
    setup = setup_for(port, seconds=0.5, warmup_seconds=0.3, connections=1)
    nursery.start_soon(answer_behind_the_warm_up)
    result = await measure(setup, Load(rate=100), Context())
    nursery.cancel_scope.cancel()
    assert len(served) == result.sent + 1
    assert result.sent + result.unsent == 50
    assert result.statuses["OK"] == result.sent > 25
    assert result.cut_short == result.unsent


async def test_the_warm_up_is_offered_like_the_window(serve, setup_for):
    served = 0

    def on_calls(calls):
        nonlocal served
        served += len(calls)
        for call in calls:
            call.reply(b"answer")

    setup = setup_for(await serve(on_calls), seconds=0.3, warmup_seconds=0.3)
    result = await measure(setup, Load(rate=100), Context())
    assert result.sent + result.unsent == 30
    # All but what a machine that comes late did not begin.
    assert served - result.sent > 10


async def test_a_warm_up_beyond_all_means_leaves_the_window_its_calls(serve, setup_for):
    setup = setup_for(await serve(), seconds=0.3, warmup_seconds=0.5)
    result = await measure(setup, Load(rate=3e7), Context())
    assert result.sent + result.unsent == 9_000_000
    assert result.statuses["OK"] == result.sent > 0
    assert result.cut_short == result.unsent


async def test_calls_without_an_answer_are_cut_short(serve, setup_for, monkeypatch):
    monkeypatch.setattr("hushar.bench.runs.GRACE_SECONDS", 0.1)
    port = await serve(lambda calls: None, connection_concurrency=3)
    result = await measure(setup_for(port, connections=1, warmup_seconds=0), Load(rate=100), Context())
    assert result.statuses == {"CANCELLED": 3}
    assert result.cut_short == result.latency.count == 3 + result.unsent


async def test_a_stop_ends_a_run_at_a_rate_beyond_all_means(serve, setup_for):
    context = Context()
    setup = setup_for(await serve(), seconds=1e8, warmup_seconds=0)
    async with trio.open_nursery() as nursery:

        async def stop_soon():
            await trio.sleep(0.1)
            context.stop.set()

        nursery.start_soon(stop_soon)
        result = await measure(setup, Load(rate=1e9), context)
    assert result.interrupted
    assert (
        result.sent + result.unsent == result.latency.count == pytest.approx(1e9 * result.seconds, rel=0.05)
    )


async def test_a_closed_loop_says_that_its_concurrency_was_not_offered(serve, setup_for):
    port = await serve(connection_concurrency=5)
    result = await measure(setup_for(port), Load(concurrency=200), Context())
    assert result.idle_share == pytest.approx(0.95, abs=0.005)
    assert result.limited
    [reason] = [each for each in result.limits if "core" not in each]
    assert reason == (
        "only 10 of 200 calls at a time were under way: all streams of its 2 connections were taken"
    )


async def test_places_of_a_closed_loop_that_are_never_free_again_wait_too(serve, setup_for, monkeypatch):
    """No call ends, so nothing happens in the whole window."""
    monkeypatch.setattr("hushar.bench.runs.GRACE_SECONDS", 0.1)
    port = await serve(lambda calls: None, connection_concurrency=5)
    result = await measure(setup_for(port), Load(concurrency=20), Context())
    assert result.idle_share == pytest.approx(0.5, abs=0.01)
    assert result.limited


async def test_a_closed_loop_whose_streams_suffice_is_not_limited_by_them(serve, setup_for):
    port = await serve(connection_concurrency=5)
    result = await measure(setup_for(port), Load(concurrency=10), Context())
    assert result.idle_share == 0
    assert not [each for each in result.limits if "streams" in each]


async def test_without_a_server_it_is_not_the_generator_whose_places_wait(setup_for, nursery):
    server = Server(0, connection_concurrency=1)
    server.add_raw_unary(PATH, lambda calls: inner.cancel_scope.cancel())
    inner = None

    async def serve_one_call(*, task_status):
        nonlocal inner
        async with trio.open_nursery() as inner:
            task_status.started(await inner.start(server.serve_async))

    port = await nursery.start(serve_one_call)
    result = await measure(setup_for(port, warmup_seconds=0, seconds=1), Load(concurrency=20), Context())
    assert not result.connected
    assert result.statuses.keys() == {"UNAVAILABLE"}
    # 18 of 20 waited for a stream, but not for long.
    assert result.idle_share < 0.4


async def test_a_call_that_takes_too_long_is_given_up(serve, setup_for):
    setup = setup_for(await serve(lambda calls: None), timeout_seconds=0.1, warmup_seconds=0)
    result = await measure(setup, Load(rate=100), Context())
    assert result.statuses == {"DEADLINE_EXCEEDED": result.sent}
    assert result.latency.count == result.sent
    assert result.latency.least > 0.09
    assert result.calls_per_second == 0


async def test_the_server_is_told_the_time_out(serve, setup_for):
    deadlines = []

    def on_calls(calls):
        for call in calls:
            deadlines.append(call.deadline - trio.current_time())
            call.reply(b"answer")

    await measure(setup_for(await serve(on_calls), timeout_seconds=40), Load(concurrency=1), Context())
    assert all(39 < left <= 40 for left in deadlines)


async def test_a_closed_loop_goes_on_after_a_time_out(serve, setup_for):
    setup = setup_for(await serve(lambda calls: None), timeout_seconds=0.05)
    result = await measure(setup, Load(concurrency=4), Context())
    assert result.statuses["DEADLINE_EXCEEDED"] >= 8


async def test_calls_without_an_answer_and_a_time_out_end_with_the_run(serve, setup_for, monkeypatch):
    monkeypatch.setattr("hushar.bench.runs.GRACE_SECONDS", 0.1)
    result = await measure(setup_for(await serve(lambda calls: None)), Load(concurrency=4), Context())
    assert GRACE_SECONDS == 5.0
    # They began in the warm-up.
    assert result.statuses == {}
    assert result.error_rate is None
    setup = setup_for(await serve(lambda calls: None), warmup_seconds=0)
    result = await measure(setup, Load(rate=100), Context())
    assert result.statuses == {"CANCELLED": result.sent}
    assert "no answer within" in result.messages["CANCELLED"]


async def test_no_server_is_an_error(setup_for, closed_port):
    with pytest.raises(ConnectionLostError, match="cannot connect"):
        await measure(setup_for(closed_port), Load(rate=10), Context())


async def test_a_connection_that_breaks_is_made_again(setup_for, nursery):
    broken, enough = 0, trio.Event()

    async def relay(stream):
        """To the server; the first two connections break when some calls are under way on them."""
        nonlocal broken
        upstream = await trio.open_tcp_stream("127.0.0.1", port)

        async def copy(source, sink):
            async for data in source:
                await sink.send_all(data)
            inner.cancel_scope.cancel()

        async with upstream, stream, trio.open_nursery() as inner:
            inner.start_soon(copy, stream, upstream)
            inner.start_soon(copy, upstream, stream)
            if broken < 2:
                broken += 1
                await enough.wait()
                inner.cancel_scope.cancel()

    server = Server(0)
    held = []

    def on_calls(calls):
        for call in calls:
            if enough.is_set():
                call.reply(b"answer")
            else:
                held.append(call)
        if len(held) >= 5:
            enough.set()

    server.add_raw_unary(PATH, on_calls)
    port = await nursery.start(server.serve_async)
    listeners = await nursery.start(trio.serve_tcp, relay, 0)
    setup = setup_for(listeners[0].socket.getsockname()[1], warmup_seconds=0, seconds=1)
    result = await measure(setup, Load(rate=100), Context())
    assert broken == 2
    assert result.connected
    assert set(result.statuses) == {"OK", "UNAVAILABLE"}
    assert result.statuses["UNAVAILABLE"] >= 5
    assert result.ended == result.sent


@pytest.mark.parametrize("load", [Load(rate=100), Load(concurrency=3)], ids=["open", "closed"])
async def test_when_the_server_is_gone_calls_are_unavailable(setup_for, load):
    server, answered = Server(0), 0

    def on_calls(calls):
        nonlocal answered
        for call in calls:
            call.reply(b"answer")
        answered += len(calls)
        if answered >= 10:
            inner.cancel_scope.cancel()

    server.add_raw_unary(PATH, on_calls)
    async with trio.open_nursery() as outer:

        async def serve_for_a_while(*, task_status):
            nonlocal inner
            async with trio.open_nursery() as inner:
                task_status.started(await inner.start(server.serve_async))

        inner = None
        port = await outer.start(serve_for_a_while)
        result = await measure(setup_for(port, warmup_seconds=0, seconds=1), load, Context())
    assert set(result.statuses) == {"OK", "UNAVAILABLE"}
    assert result.ended == result.sent
    assert not result.connected
    assert "UNAVAILABLE" in result.messages


async def test_a_run_ends_early_with_what_was_measured(serve, setup_for):
    context, calls_seen = Context(), 0

    def on_calls(calls):
        nonlocal calls_seen
        calls_seen += len(calls)
        for call in calls:
            call.reply(b"answer")
        if calls_seen >= 10:
            context.stop.set()

    setup = setup_for(await serve(on_calls), seconds=3600, warmup_seconds=0)
    result = await measure(setup, Load(rate=100), context)
    assert result.interrupted
    assert result.seconds < 60
    assert result.statuses == {"OK": result.sent}
    assert result.sent >= 10


async def test_a_run_that_ends_in_its_warm_up_has_measured_nothing(serve, setup_for):
    context = Context()
    context.stop.set()
    result = await measure(setup_for(await serve()), Load(rate=100), context)
    assert (result.sent, result.seconds, result.calls_per_second, result.statuses) == (0, 0, 0, {})
    assert result.latency.percentile(0.5) is None


async def test_progress_is_told(serve, setup_for):
    told = []
    context = Context(progress=lambda text, share: told.append((text, share)))
    await measure(setup_for(await serve()), Load(concurrency=1), context)
    assert {text for text, _ in told} == {
        "warm-up: closed loop, 1 at a time",
        "measuring: closed loop, 1 at a time",
    }
    assert all(0 <= share < 1 for _, share in told)


@pytest.fixture
def admin():
    """A tiny /metrics whose counters grow by 10 matrices of 1 ms between two readings."""
    readings = 0

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            nonlocal readings
            readings += 1
            body = (
                f'hushar_stage_duration_seconds_sum{{stage="run"}} {0.5 + 0.01 * readings}\n'
                f'hushar_stage_duration_seconds_count{{stage="run"}} {100 + 10 * readings}\n'
            ).encode()
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Address("127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


async def test_the_server_s_stages_are_those_of_the_run(serve, setup_for, admin):
    result = await measure(setup_for(await serve(), admin=admin), Load(rate=100), Context())
    assert result.server_stages == {"run": pytest.approx(0.001)}


async def test_without_an_admin_port_one_line_says_so(serve, setup_for, closed_port):
    told = []
    context = Context(tell=told.append)
    setup = setup_for(await serve(), admin=Address("127.0.0.1", closed_port))
    for _ in range(2):
        result = await measure(setup, Load(rate=100), context)
        assert result.server_stages is None
    [line] = told
    assert line.startswith(f"no server-side stages: http://127.0.0.1:{closed_port}/metrics cannot be read: ")


def result_of(load, **figures):
    defaults = {
        "seconds": 10.0,
        "connections": 4,
        "sent": 1000,
        "unsent": 0,
        "calls_per_second": 100.0,
        "statuses": {"OK": 1000},
        "messages": {},
        "latency": Histogram(),
        "late_p99_seconds": 0.0,
        "cpu_share": 0.2,
        "slot_seconds": 1.0,
        "ok_slots": None,
        "failed_slots": None,
    }
    return RunResult(load, **(defaults | figures))


@pytest.mark.parametrize(
    ("load", "figures", "reasons"),
    [
        (Load(rate=100), {}, []),
        (Load(rate=100), {"unsent": 10}, []),
        (Load(rate=100), {"unsent": 20}, ["2.0% of the calls were never sent: all streams"]),
        (Load(rate=100), {"unsent": 20, "cpu_share": 0.98}, ["2.0% of the calls were never sent: its core"]),
        (Load(rate=100), {"unsent": 20, "behind": 15}, ["2.0% of the calls were never sent: its core"]),
        (Load(rate=100), {"unsent": 20, "behind": 5}, ["2.0% of the calls were never sent: all streams"]),
        (Load(rate=100), {"late_p99_seconds": 0.05}, []),
        (Load(rate=100), {"late_p99_seconds": 0.051}, ["it was 51 ms late at p99"]),
        (Load(rate=100), {"cpu_share": 0.99}, []),
        (Load(rate=110), {"cpu_share": 0.99}, ["its core was busy 99% of the time"]),
        (Load(concurrency=1), {"cpu_share": 0.99}, ["its core was busy 99% of the time"]),
        (Load(concurrency=1), {"cpu_share": 0.9}, []),
        (Load(concurrency=1000), {"idle_share": 0.01}, []),
        (
            Load(concurrency=1000),
            {"idle_share": 0.9},
            ["only 100 of 1000 calls at a time were under way: all"],
        ),
    ],
)
def test_when_the_generator_was_the_limit(load, figures, reasons):
    found = list(_limits(result_of(load, **figures)))
    assert len(found) == len(reasons)
    assert all(text.startswith(start) for text, start in zip(found, reasons, strict=True))

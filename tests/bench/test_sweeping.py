"""The sweep and the bounds, with a model of a server in place of one."""

import math

import numpy as np
import pytest

from hushar.bench import sweeping
from hushar.bench.options import Bounds, Load, Setup
from hushar.bench.recording import Histogram
from hushar.bench.runs import Context, RunResult
from hushar.rpc.client_errors import ConnectionLostError
from hushar.rpc.dialing import Target

LOST = ConnectionLostError("cannot connect to h:1")


def result_of(load, latency=0.001, rate=None, statuses=None, **figures):
    histogram = Histogram()
    histogram.add(np.full(1000, latency))
    figures = {
        "seconds": 10.0,
        "connections": 4,
        "sent": 1000,
        "unsent": 0,
        "calls_per_second": (load.rate or 500.0) if rate is None else rate,
        "statuses": statuses or {"OK": 1000},
        "messages": {},
        "late_p99_seconds": 0.0,
        "cpu_share": 0.2,
        "slot_seconds": 1.0,
        "ok_slots": np.array([1]),
        "failed_slots": np.array([0]),
        **figures,
    }
    return RunResult(load=load, latency=histogram, **figures)


def setup_of(**bounds):
    return Setup(Target("h", 1), [], bounds=Bounds(**bounds))


@pytest.fixture
def server(monkeypatch):
    """server(model): `model(rate)` gives what is special of a run's result at that rate."""

    def install(model):
        async def measure(setup, load, context):
            return result_of(load, **model(load.rate))

        monkeypatch.setattr(sweeping, "measure", measure)

    return install


def queue(capacity, service=0.001):
    """Latency of a queue with one server, and what it answers."""

    def model(rate):
        share = rate / capacity
        return {"latency": service / (1 - share)} if share < 1 else {"latency": 5.0, "rate": capacity}

    return model


async def test_a_sweep_rises_until_p99_breaks(server):
    server(queue(1000))
    outcome = await sweeping.sweep(setup_of(max_p99_seconds=0.004), 100.0, Context())
    rates = [run.load.rate for run in outcome.runs]
    assert rates == [100, 150, 225, 337, 505, 757]
    assert outcome.highest_rate == 505
    assert outcome.broke == "max_p99_seconds is 0.004115, above 0.004"
    assert outcome.held
    assert [(bound.name, bound.held) for bound in outcome.bounds] == [("max_p99_seconds", True)]
    # What it is judged by is the rate that was held.
    assert outcome.bounds[0].value == pytest.approx(0.00202, rel=0.01)


async def test_a_sweep_ends_where_the_rate_is_not_answered(server):
    server(lambda rate: {"rate": min(rate, 300)})
    outcome = await sweeping.sweep(setup_of(max_p99_seconds=9), 100.0, Context())
    assert (outcome.highest_rate, outcome.runs[-1].load.rate) == (225, 337)
    assert outcome.broke == "300 calls a second were answered of 337"


async def test_a_sweep_ends_where_the_generator_is_the_limit(server):
    server(lambda rate: {"limits": ("its core was busy",)} if rate > 200 else {})
    outcome = await sweeping.sweep(setup_of(max_p99_seconds=9), 100.0, Context())
    assert outcome.highest_rate == 150
    assert outcome.broke == "the generator was the limit: its core was busy"


async def test_a_sweep_whose_first_rate_breaks_has_held_none(server):
    server(queue(50))
    outcome = await sweeping.sweep(setup_of(max_p99_seconds=0.1), 100.0, Context())
    assert len(outcome.runs) == 1
    assert outcome.highest_rate is None
    assert not outcome.held


async def test_other_bounds_end_a_sweep_too_but_the_least_rate_is_for_the_end(server):
    server(lambda rate: {"statuses": {"OK": 900, "INTERNAL": 100}} if rate > 300 else {})
    bounds = {"max_p99_seconds": 1, "max_error_rate": 0.05, "min_rate": 200.0}
    outcome = await sweeping.sweep(setup_of(**bounds), 100.0, Context())
    assert outcome.highest_rate == 225
    assert outcome.broke == "max_error_rate is 0.1, above 0.05"
    assert outcome.held
    outcome = await sweeping.sweep(setup_of(**(bounds | {"min_rate": 226.0})), 100.0, Context())
    assert not outcome.held


async def test_a_sweep_that_is_interrupted_keeps_its_runs(server):
    server(lambda rate: {"interrupted": rate > 200})
    outcome = await sweeping.sweep(setup_of(max_p99_seconds=1), 100.0, Context())
    assert outcome.interrupted
    assert (len(outcome.runs), outcome.highest_rate, outcome.broke) == (3, 150, "")


@pytest.mark.parametrize("first", [0.01, 1, 7, 66.7, 100, 12345.6])
def test_steps_are_at_most_a_half_and_end_somewhere(first):
    rate, steps = first, 0
    while rate < 1e6:
        following = sweeping.next_rate(rate)
        assert 1.4 * rate < following <= 1.5 * rate
        rate, steps = following, steps + 1
    assert steps < 2 * math.log(1e8, 1.5)


async def test_one_run_is_judged_by_every_bound(server):
    server(lambda rate: {"latency": 0.01, "statuses": {"OK": 99, "UNAVAILABLE": 1}})
    setup = setup_of(max_p50_seconds=0.02, max_p99_seconds=0.005, max_error_rate=0.01, min_rate=99.0)
    outcome = await sweeping.run_once(setup, Load(rate=100.0), Context())
    judged = {bound.name: (bound.limit, pytest.approx(bound.value), bound.held) for bound in outcome.bounds}
    assert judged == {
        "max_p50_seconds": (0.02, 0.01, True),
        "max_p99_seconds": (0.005, 0.01, False),
        "max_error_rate": (0.01, 0.01, True),
        "min_rate": (99.0, 100.0, True),
    }
    assert not outcome.held
    assert not outcome.is_sweep


def test_a_bound_without_anything_measured_is_missed():
    result = result_of(Load(rate=1.0))
    empty = RunResult(**{name: getattr(result, name) for name in result.__slots__} | {
        "latency": Histogram(), "statuses": {}, "calls_per_second": 0.0})  # fmt: skip
    bounds = Bounds(max_p50_seconds=1, max_error_rate=1, min_rate=0)
    assert [(bound.value, bound.held) for bound in sweeping.judge(bounds, empty)] == [
        (None, False),
        (None, False),
        (0.0, True),
    ]


def test_without_bounds_everything_is_held():
    result = result_of(Load(rate=1.0))
    assert sweeping.Outcome(setup_of(), [result], list(sweeping.judge(Bounds(), result))).held


async def test_a_server_that_goes_away_between_two_rates_ends_the_sweep(monkeypatch):
    async def measure(setup, load, context):
        if load.rate > 200:
            raise LOST
        return result_of(load)

    monkeypatch.setattr(sweeping, "measure", measure)
    outcome = await sweeping.sweep(setup_of(max_p99_seconds=1), 100.0, Context())
    assert outcome.highest_rate == 150
    assert not outcome.connected
    assert outcome.broke == "cannot connect to h:1"
    with pytest.raises(ConnectionLostError):
        await sweeping.sweep(setup_of(max_p99_seconds=1), 300.0, Context())


@pytest.mark.parametrize(
    ("cut_short", "held"),
    [(0, {"max_p50_seconds", "max_p99_seconds"}), (10, {"max_p50_seconds", "max_p99_seconds"}),
     (11, {"max_p50_seconds"}), (500, {"max_p50_seconds"}), (501, set()), (1000, set())],
)  # fmt: skip
def test_of_calls_without_an_answer_no_latency_is_known(cut_short, held):
    result = result_of(Load(rate=100.0), latency=0.5, cut_short=cut_short)
    bounds = Bounds(max_p50_seconds=1.0, max_p99_seconds=1.0)
    judged = list(sweeping.judge(bounds, result))
    assert {bound.name for bound in judged if bound.held} == held
    doubtful = f"0.5, but {cut_short:,} of 1,000 calls were never sent or given up"
    assert [bound.figure for bound in judged] == ["0.5" if bound.held else doubtful for bound in judged]


def test_a_latency_above_its_limit_is_not_doubted():
    result = result_of(Load(rate=100.0), latency=0.5, cut_short=200)
    (bound,) = sweeping.judge(Bounds(max_p99_seconds=0.4), result)
    assert (bound.held, bound.figure) == (False, "0.5")
    assert sweeping.reason_to_stop(Bounds(max_p99_seconds=0.4), result) == "max_p99_seconds is 0.5, above 0.4"


def test_where_the_generator_was_the_limit_a_sweep_names_it():
    result = result_of(Load(rate=100.0), latency=0.5, cut_short=200, limits=("its core was busy",))
    reason = sweeping.reason_to_stop(Bounds(max_p99_seconds=1.0), result)
    assert reason == "the generator was the limit: its core was busy"


def test_a_sweep_says_that_calls_were_given_up():
    result = result_of(Load(rate=100.0), latency=0.5, cut_short=200)
    reason = sweeping.reason_to_stop(Bounds(max_p99_seconds=1.0), result)
    assert reason == "max_p99_seconds is 0.5, but 200 of 1,000 calls were never sent or given up"

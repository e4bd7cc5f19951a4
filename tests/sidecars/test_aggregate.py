"""Batches in, named metrics out."""

import pytest

from hushar.records import BatchMetrics, Timings
from hushar.sidecars.aggregate import FOLDED_AT_ONCE, Aggregate, Deltas
from hushar.sinks.interface import Counter

TIMINGS = Timings(decode_us=1.0, vectorization_us=2.0, to_tensor_us=3.0, inference_us=4.0, encode_us=5.0)


def values(aggregate: Aggregate) -> dict[str, list[float]]:
    return {d.name: d.values.tolist() for d in aggregate.distributions()}


def counts(aggregate: Aggregate) -> dict[tuple[str, ...], float]:
    return {(c.name, *c.labels.values()): c.value for c in aggregate.counters()}


def test_one_value_a_batch_and_one_a_call():
    aggregate = Aggregate()
    aggregate.add(
        BatchMetrics(7, TIMINGS, queue_us=[(10.0, 1), (20.0, 1)], answered_us=[(100.0, 1), (50.0, 1)])
    )
    aggregate.add(BatchMetrics(1, TIMINGS, queue_us=[(30.0, 1)], answered_us=[(70.0, 1)]))
    assert values(aggregate) == {
        "VectorizationTime": [2.0, 2.0],
        "ToTensorTime": [3.0, 3.0],
        "InferenceTime": [4.0, 4.0],
        "DecodeTime": [1.0, 1.0],
        "EncodeTime": [5.0, 5.0],
        "QueueTime": [10.0, 20.0, 30.0],
        "TotalTime": [50.0, 70.0, 100.0],
        "BatchRows": [1.0, 7.0],
    }
    assert counts(aggregate) == {("Requests", "OK"): 3, ("Rows",): 8, ("Batches",): 2}


def test_calls_that_came_together_count_each():
    aggregate = Aggregate()
    aggregate.add(BatchMetrics(100, TIMINGS, queue_us=[(10.0, 99), (20.0, 1)], answered_us=[(50.0, 100)]))
    found = {each.name: each for each in aggregate.distributions()}
    assert (found["QueueTime"].count, found["QueueTime"].quantile(0.5), found["QueueTime"].maximum) == (
        100,
        10,
        20,
    )
    assert found["TotalTime"].count == 100
    assert found["InferenceTime"].count == 1
    assert counts(aggregate)["Requests", "OK"] == 100


def test_any_number_of_batches_is_counted():
    aggregate = Aggregate()
    for number in range(2 * FOLDED_AT_ONCE + 1):
        aggregate.add(BatchMetrics(2, TIMINGS, [(number, 1)], [(1.0, 3)], {"INTERNAL": 1}))
        if number == FOLDED_AT_ONCE + 3:
            assert counts(aggregate)["Batches",] == number + 1
    found = {each.name: each for each in aggregate.distributions()}
    assert (found["QueueTime"].count, found["TotalTime"].count) == (number + 1, 3 * (number + 1))
    assert counts(aggregate) == {
        ("Requests", "OK"): 3 * (number + 1),
        ("Requests", "INTERNAL"): number + 1,
        ("Rows",): 2 * (number + 1),
        ("Batches",): number + 1,
    }


def test_units_are_microseconds_but_for_rows():
    aggregate = Aggregate()
    aggregate.add(BatchMetrics(7, TIMINGS, [(1.0, 1)], [(1.0, 1)]))
    units = {d.name: d.unit for d in aggregate.distributions()}
    assert units.pop("BatchRows") == "Count"
    assert set(units.values()) == {"Microseconds"}


def test_calls_that_fail_are_counted_by_their_kind():
    aggregate = Aggregate()
    aggregate.add(BatchMetrics(1, TIMINGS, [(1.0, 3)], [(1.0, 1)], {"INVALID_ARGUMENT": 1, "INTERNAL": 1}))
    aggregate.add(BatchMetrics(0, None, [(2.0, 1)], failed={"INVALID_ARGUMENT": 1}))
    assert counts(aggregate) == {
        ("Requests", "OK"): 1,
        ("Requests", "INVALID_ARGUMENT"): 2,
        ("Requests", "INTERNAL"): 1,
        ("Rows",): 1,
        ("Batches",): 1,
    }


def test_a_batch_that_never_reached_the_model_has_no_times_and_no_rows():
    aggregate = Aggregate()
    aggregate.add(BatchMetrics(0, None, queue_us=[(5.0, 1)], answered_us=[(6.0, 1)]))
    assert values(aggregate) == {"QueueTime": [5.0], "TotalTime": [6.0]}
    assert counts(aggregate) == {("Requests", "OK"): 1}


def test_nothing_gives_nothing():
    assert Aggregate().distributions() == ()
    assert Aggregate().counters() == ()


class TestDeltas:
    @pytest.fixture
    def deltas(self) -> Deltas:
        return Deltas()

    def test_what_was_added_since_the_last_look(self, deltas):
        assert deltas.since_last([Counter("A", 3, {})]) == (Counter("A", 3, {}),)
        assert deltas.since_last([Counter("A", 3, {})]) == ()
        assert deltas.since_last([Counter("A", 5, {})]) == (Counter("A", 2, {}),)

    def test_each_combination_of_labels_is_a_counter_of_its_own(self, deltas):
        deltas.since_last([Counter("A", 1, {"x": "1"}), Counter("A", 1, {"x": "2"})])
        grown = deltas.since_last([Counter("A", 1, {"x": "1"}), Counter("A", 4, {"x": "2"})])
        assert grown == (Counter("A", 3, {"x": "2"}),)

"""From an interval to data and calls, against the API's limits."""

import gzip
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

from hushar.plugins import Counter, Distribution, MetricBatch
from hushar_aws.cloudwatch_backlog import INTERVALS, NEWEST_SECONDS, OLDEST_SECONDS, Backlog
from hushar_aws.cloudwatch_data import Datum, data_of, dimensions
from hushar_aws.cloudwatch_requests import BYTES_A_CALL, COMPRESSED_FROM, DATA_A_CALL, requests_of

START = 1_754_000_000.0


def batch(**changes: Any) -> MetricBatch:
    given = {
        "namespace": "HusharService",
        "dimensions": {"ModelId": "penguins"},
        "start_unix_seconds": START,
        "end_unix_seconds": START + 60,
        "distributions": (),
        "counters": (),
    }
    return MetricBatch(**{**given, **changes})


def distribution(values: Any, counts: Any = None, name: str = "InferenceTime") -> Distribution:
    return Distribution(
        name,
        "Microseconds",
        np.sort(np.asarray(values, np.float64)),
        None if counts is None else np.asarray(counts, np.int64),
    )


def data(given: MetricBatch, *, high_resolution: bool = False) -> list[Datum]:
    return list(data_of(given, high_resolution=high_resolution))


def body_of(call: Any) -> dict[str, Any]:
    body = gzip.decompress(call.body) if "Content-Encoding" in call.headers else call.body
    return json.loads(body)


class TestDistributions:
    def test_a_value_that_occurs_often_is_sent_once_with_its_count(self):
        (datum,) = data(batch(distributions=(distribution([1.5, 1.5, 2.0, 9.25]),)))
        assert datum == {
            "MetricName": "InferenceTime",
            "Dimensions": [{"Name": "ModelId", "Value": "penguins"}],
            "Unit": "Microseconds",
            "Timestamp": START + 30,
            "Values": [1.5, 2.0, 9.25],
            "Counts": [2, 1, 1],
        }

    def test_counts_of_the_distribution_are_kept(self):
        (datum,) = data(batch(distributions=(distribution([1.0, 2.0], [7, 2**40]),)))
        assert (datum["Values"], datum["Counts"]) == ([1.0, 2.0], [7, 2**40])

    def test_more_than_150_values_take_several_data(self):
        values = np.random.default_rng(1).gamma(2.0, 20.0, 1000)
        found = data(batch(distributions=(distribution(values),)))
        assert [len(datum["Values"]) for datum in found] == [150] * 6 + [100]
        assert all(len(datum["Values"]) == len(datum["Counts"]) for datum in found)
        sent = [value for datum in found for value in datum["Values"]]
        assert sent == sorted(values.tolist())

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 2.0**360, -(2.0**361)])
    def test_what_the_api_refuses_is_left_out(self, bad: float):
        (datum,) = data(
            batch(
                distributions=(distribution([1.0, bad]), distribution([bad], name="Other")),
                counters=(Counter("Broken", bad, {}),),
            )
        )
        assert (datum["Values"], datum["Counts"]) == ([1.0], [1])

    def test_an_unknown_unit_is_none(self):
        given = Distribution("Own", "Furlongs", np.array([1.0]))
        (datum,) = data(batch(distributions=(given,)))
        assert datum["Unit"] == "None"


class TestCounters:
    def test_labels_become_dimensions(self):
        (datum,) = data(batch(counters=(Counter("Requests", 4.0, {"status": "OK"}),)))
        assert datum == {
            "MetricName": "Requests",
            "Dimensions": [{"Name": "ModelId", "Value": "penguins"}, {"Name": "status", "Value": "OK"}],
            "Unit": "Count",
            "Value": 4.0,
            "Timestamp": START + 30,
        }

    def test_a_gauge_of_0_is_sent(self):
        (datum,) = data(batch(gauges=(Counter("InFlight", 0.0, {}),)))
        assert datum["Value"] == 0

    def test_the_unit_of_a_gauge_is_in_its_name(self):
        gauges = (
            Counter("LogSpoolBytes", 1, {}),
            Counter("LogOldestSeconds", 1, {}),
            Counter("InFlight", 1, {}),
        )
        assert [datum["Unit"] for datum in data(batch(gauges=gauges))] == ["Bytes", "Seconds", "Count"]

    def test_the_model_version_is_a_gauge_of_its_own(self):
        (datum,) = data(batch(model_version="3f0c1d9a7b52"))
        assert (datum["MetricName"], datum["Value"]) == ("ModelVersion", 1)
        assert {"Name": "version", "Value": "3f0c1d9a7b52"} in datum["Dimensions"]

    def test_counters_stand_before_distributions(self):
        given = batch(distributions=(distribution([1.0]),), counters=(Counter("Rows", 1, {}),))
        assert [datum["MetricName"] for datum in data(given)] == ["Rows", "InferenceTime"]


def test_high_resolution_is_said_of_every_datum():
    given = batch(distributions=(distribution([1.0]),), counters=(Counter("Rows", 1, {}),))
    assert all(datum["StorageResolution"] == 1 for datum in data(given, high_resolution=True))
    assert all("StorageResolution" not in datum for datum in data(given))


class TestDimensions:
    def test_at_most_30(self):
        named = {f"name{i}": "value" for i in range(40)}
        assert [each["Name"] for each in dimensions(named)] == [f"name{i}" for i in range(30)]

    def test_an_empty_one_is_left_out(self):
        assert dimensions({"ModelId": "", "a": " ", "": "b", " ": "c", ":": "d", "e": "f"}) == [
            {"Name": "e", "Value": "f"}
        ]

    def test_what_is_not_ascii_is_encoded_and_stays_apart(self):
        found = dimensions({"a": "modèle", "b": "modële", "c": "x\ny", ":d": "\ud800"})
        assert [each["Value"] for each in found] == ["mod%C3%A8le", "mod%C3%ABle", "x%0Ay", "?"]
        assert found[3]["Name"] == "d"

    def test_lengths(self):
        ((found),) = dimensions({"n" * 300: "v" * 2000})
        assert (len(found["Name"]), len(found["Value"])) == (255, 1024)


class TestRequests:
    def test_none_for_no_data(self):
        assert list(requests_of("N", [])) == []

    def test_a_small_one_is_plain(self):
        (call,) = requests_of("Namespäce", [{"MetricName": "m", "Value": 1.0}])
        assert "Content-Encoding" not in call.headers
        assert json.loads(call.body) == {
            "Namespace": "Namespäce",
            "MetricData": [{"MetricName": "m", "Value": 1.0}],
        }

    def test_a_large_one_is_compressed_and_always_the_same(self):
        given = [{"MetricName": "m" * 100, "Value": i} for i in range(200)]
        (call,) = requests_of("N", given)
        assert call.headers["Content-Encoding"] == "gzip"
        assert body_of(call)["MetricData"] == given
        assert len(call.body) < len(gzip.decompress(call.body)) > COMPRESSED_FROM
        assert next(requests_of("N", given)) == call

    def test_at_most_1000_data_a_call(self):
        given = [{"MetricName": "m", "Value": i} for i in range(2001)]
        calls = [body_of(call)["MetricData"] for call in requests_of("N", given)]
        assert [len(call) for call in calls] == [DATA_A_CALL, DATA_A_CALL, 1]
        assert list(itertools.chain(*calls)) == given

    def test_at_most_a_megabyte_a_call(self):
        given = [{"MetricName": "m" * 5000, "Value": i} for i in range(900)]
        bodies = [gzip.decompress(call.body) for call in requests_of("N", given)]
        assert len(bodies) > 1
        assert all(len(body) <= BYTES_A_CALL for body in bodies)
        assert [datum for body in bodies for datum in json.loads(body)["MetricData"]] == given

    def test_numbers_are_exact(self):
        values = np.random.default_rng(2).lognormal(0, 20, 3000)
        given = data(batch(distributions=(distribution(values),)))
        sent = [
            v for call in requests_of("N", given) for d in body_of(call)["MetricData"] for v in d["Values"]
        ]
        assert sent == sorted(values.tolist())

    def test_a_full_interval_is_a_single_call_or_two(self):
        """Eight metrics of 4,096 different values each."""
        rng = np.random.default_rng(3)
        many = tuple(distribution(np.round(rng.gamma(2.0, 50.0, 4096), 3), name=f"m{i}") for i in range(8))
        assert len(list(requests_of("HusharService", data(batch(distributions=many))))) <= 2


class TestBacklog:
    def counted(self, value: float, **changes: Any) -> MetricBatch:
        counters = (Counter("Requests", value, {"status": "OK"}), Counter("Rows", 10 * value, {}))
        return batch(counters=counters, **changes)

    def test_first_in_first_out(self):
        backlog = Backlog()
        for i in range(3):
            backlog.add(self.counted(i))
        assert len(backlog) == 3
        for i in range(3):
            waiting = backlog.first(START + 60)
            assert waiting is not None
            assert waiting.batch.counters[0].value == i
            backlog.done()
        assert backlog.first(START + 60) is None

    def test_a_full_one_gives_up_the_oldest_and_keeps_its_counts(self):
        backlog = Backlog()
        for i in range(INTERVALS + 2):
            backlog.add(self.counted(2.0**i, distributions=(distribution([float(i)]),)))
        assert (len(backlog), backlog.lost) == (INTERVALS, 2)
        waiting = backlog.first(START + 60)
        assert waiting is not None
        assert [(c.name, c.value) for c in waiting.batch.counters] == [("Requests", 7.0), ("Rows", 70.0)]
        assert waiting.batch.distributions[0].maximum == 2.0

    def test_counts_that_were_sent_are_not_sent_again(self):
        backlog = Backlog(1)
        backlog.add(self.counted(1))
        waiting = backlog.first(START + 60)
        assert waiting is not None
        waiting.sent = 1
        backlog.add(self.counted(2))
        waiting = backlog.first(START + 60)
        assert waiting is not None
        assert waiting.batch.counters[0].value == 2

    def test_counts_of_another_model_are_not_mixed(self):
        backlog = Backlog(1)
        backlog.add(self.counted(1, dimensions={"ModelId": "other"}))
        backlog.add(self.counted(2))
        waiting = backlog.first(START + 60)
        assert waiting is not None
        assert waiting.batch.counters[0].value == 2

    @pytest.mark.parametrize("now", [START + OLDEST_SECONDS + 60, START - NEWEST_SECONDS - 60])
    def test_what_cloudwatch_would_refuse_for_its_time_is_given_up(self, now: float):
        backlog = Backlog()
        backlog.add(self.counted(1))
        backlog.add(self.counted(2, start_unix_seconds=now - 60, end_unix_seconds=now))
        waiting = backlog.first(now)
        assert waiting is not None
        assert waiting.batch.counters[0].value == 3
        assert backlog.lost == 1
        backlog.done()
        backlog.add(self.counted(4))
        assert backlog.first(now) is None

"""The three reports of the same outcomes."""

import html.parser
import json
import re

import jsonschema
import numpy as np
import pytest

from hushar.bench import svg
from hushar.bench.options import Bounds, Load, Setup
from hushar.bench.recording import Histogram
from hushar.bench.report_html import as_html
from hushar.bench.report_json import as_json
from hushar.bench.report_table import as_text, seconds
from hushar.bench.runs import RunResult
from hushar.bench.sweeping import Judged, Outcome
from hushar.rpc.dialing import Target

NUMBER, NULLABLE = {"type": "number"}, {"type": ["number", "null"]}
LATENCIES = ["min", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"]


def object_of(required, **more):
    return {"type": "object", "required": list(required), "properties": required, **more}


SCHEMA = object_of(
    {
        "runs": {
            "type": "array",
            "items": object_of(
                {
                    "mode": {"enum": ["open", "closed"]},
                    "rate": NULLABLE,
                    "concurrency": {"type": ["integer", "null"]},
                    "seconds": NUMBER,
                    "connections": {"type": "integer"},
                    "sent": {"type": "integer"},
                    "calls_per_second": NUMBER,
                    "statuses": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "latency_seconds": object_of(
                        dict.fromkeys(LATENCIES, NULLABLE), additionalProperties=False
                    ),
                    "generator": object_of({"limited": {"type": "boolean"}, "late_p99_seconds": NUMBER}),
                },
            ),
        },
        "bounds": {
            "type": "array",
            "items": object_of(
                {"name": {"type": "string"}, "limit": NUMBER, "value": NULLABLE, "held": {"type": "boolean"}},
                additionalProperties=False,
            ),
        },
        "sweep": {
            "anyOf": [
                {"type": "null"},
                object_of({"highest_rate": NULLABLE}, additionalProperties=False),
            ]
        },
    },
    additionalProperties=False,
)


def run(load=None, values=(), **figures):
    latency = Histogram()
    latency.add(np.array(values, np.float64))
    defaults = {
        "seconds": 3.0,
        "connections": 4,
        "sent": 103,
        "unsent": 0,
        "calls_per_second": 33.3,
        "statuses": {"OK": 100, "INVALID_ARGUMENT": 3},
        "messages": {"INVALID_ARGUMENT": "feature <a> of row\x1b[2J"},
        "late_p99_seconds": 0.0002,
        "cpu_share": 0.25,
        "slot_seconds": 1.0,
        "ok_slots": np.array([30, 40, 30]),
        "failed_slots": np.array([0, 3, 0]),
    }
    return RunResult(load or Load(rate=100.0), latency=latency, **(defaults | figures))


def outcome(*runs, bounds=(), **more):
    setup = Setup(Target("127.0.0.1", 8279), [], source="random rows", bounds=Bounds())
    return Outcome(setup, list(runs), list(bounds), **more)


VALUES = np.random.default_rng(1).lognormal(-7, 1, 5000)
ONE = outcome(
    run(values=VALUES, server_stages={"run": 0.0001, "queue": 0.00002}),
    bounds=[Judged("max_p99_seconds", 0.5, 0.01, True), Judged("min_rate", 50.0, 33.3, False)],
)
CLOSED = outcome(run(Load(concurrency=7), values=VALUES, limits=("its core was busy 99% of the time",)))
EMPTY = outcome(
    run(statuses={}, messages={}, sent=0, calls_per_second=0.0, seconds=0.0, ok_slots=np.array([0]),
        failed_slots=np.array([0]), interrupted=True),
    bounds=[Judged("max_p99_seconds", 0.5, None, False)],
)  # fmt: skip
SWEEP = outcome(
    *(run(Load(rate=rate), values=VALUES * rate / 100) for rate in (100.0, 150.0, 225.0)),
    is_sweep=True,
    highest_rate=150.0,
    broke="max_p99_seconds is 0.6, above 0.5",
)
NONE_HELD = outcome(
    run(limits=("it was 51 ms late at p99",)), is_sweep=True, broke="the generator was the limit"
)
ALL = {"one": ONE, "closed": CLOSED, "empty": EMPTY, "sweep": SWEEP, "none": NONE_HELD}


@pytest.fixture(params=ALL.values(), ids=ALL.keys())
def any_outcome(request):
    return request.param


class TestJson:
    def test_every_outcome_fits_the_schema(self, any_outcome):
        jsonschema.validate(json.loads(as_json(any_outcome)), SCHEMA)

    def test_figures(self):
        document = json.loads(as_json(ONE))
        [made] = document["runs"]
        assert (made["mode"], made["rate"], made["concurrency"]) == ("open", 100.0, None)
        assert made["statuses"] == {"OK": 100, "INVALID_ARGUMENT": 3}
        assert made["latency_seconds"]["max"] == VALUES.max()
        assert made["latency_seconds"]["p99"] == pytest.approx(np.percentile(VALUES, 99), rel=0.02)
        assert made["server_stages_seconds"] == {"run": 0.0001, "queue": 0.00002}
        assert made["generator"]["limited"] is False
        assert document["bounds"][1] == {"name": "min_rate", "limit": 50.0, "value": 33.3, "held": False}
        assert document["sweep"] is None

    def test_a_closed_loop_and_a_generator_at_its_limit(self):
        [made] = json.loads(as_json(CLOSED))["runs"]
        assert (made["mode"], made["rate"], made["concurrency"]) == ("closed", None, 7)
        assert made["generator"]["limited"] is True
        assert "server_stages_seconds" not in made

    def test_nothing_measured_is_null(self):
        document = json.loads(as_json(EMPTY))
        assert document["runs"][0]["latency_seconds"] == dict.fromkeys(LATENCIES)
        assert document["bounds"][0]["value"] is None

    def test_a_sweep(self):
        assert json.loads(as_json(SWEEP))["sweep"] == {"highest_rate": 150.0}
        assert json.loads(as_json(NONE_HELD))["sweep"] == {"highest_rate": None}


class TestTable:
    def test_one_run(self):
        text = as_text(ONE)
        for words in ("open loop, 100 calls a second", "33.3", "INVALID_ARGUMENT", "p99.99", "run  100 µs"):
            assert words in text
        assert "held: max_p99_seconds 0.5 (0.01)" in text
        assert "missed: min_rate 50 (33.3)" in text
        assert "generator" not in text

    def test_a_message_does_not_steer_the_terminal(self):
        assert "\x1b" not in as_text(ONE)

    def test_the_generator_is_named_where_it_was_the_limit(self):
        assert "limited by the generator: its core was busy" in as_text(CLOSED)
        assert "limited by the generator" in as_text(NONE_HELD) or "generator was" in as_text(NONE_HELD)

    def test_nothing_measured(self):
        assert "missed: max_p99_seconds 0.5 (nothing measured)" in as_text(EMPTY)
        assert "(ended early)" in as_text(EMPTY)

    def test_a_sweep_has_a_line_a_rate(self):
        lines = as_text(SWEEP).splitlines()
        assert [line.split()[0] for line in lines[1:4]] == ["100", "150", "225"]
        assert lines[3].endswith("broke")
        assert "highest rate that was held: 150 calls a second" in as_text(SWEEP)
        assert "no rate was held" in as_text(NONE_HELD)

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "-"),
            (0.0, "0.00 µs"),
            (3.2e-7, "0.32 µs"),
            (0.0000123, "12.3 µs"),
            (0.000312, "312 µs"),
            (0.00124, "1.24 ms"),
            (2.5, "2.50 s"),
            (250, "250 s"),
        ],
    )
    def test_times_have_three_digits(self, value, text):
        assert seconds(value) == text


class Page(html.parser.HTMLParser):
    """Every tag is closed, and nothing refers to anything."""

    VOID = ("meta", "br")
    REFERENCES = ("src", "href", "srcset", "data", "action", "poster", "xlink:href", "background")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        assert not [name for name, _ in attributes if name in self.REFERENCES or name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


class TestHtml:
    def page(self, made):
        return as_html(made, "a <title>", [("server", "h:1")])

    def test_it_parses_and_refers_to_nothing(self, any_outcome):
        text = self.page(any_outcome)
        page = Page(text)
        assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
        assert not re.search(r"https?:|//|url\(|@import", text)
        assert "a <title>" in page.texts
        for number in re.findall(r'\s(?:x|y|width|height|cx|cy|x1|x2|y1|y2)="([^"]+)"', text):
            assert np.isfinite(float(number))
        for points in re.findall(r'points="([^"]*)"', text):
            assert "nan" not in points

    def test_one_run_has_its_three_plots(self):
        text = self.page(ONE)
        titles = re.findall("<figcaption>(.*?)</figcaption>", text)
        assert titles == [
            "Latency by percentile",
            "Histogram of latencies",
            "Calls a second over time (red: not OK)",
        ]
        assert Page(text).tags.count("svg") == 3
        assert "feature &lt;a&gt; of row" in text

    def test_a_sweep_also_has_latency_against_rate(self):
        titles = re.findall("<figcaption>(.*?)</figcaption>", self.page(SWEEP))
        assert titles[0] == "Latency against rate"
        assert titles.count("Latency by percentile") == 3

    def test_bounds_limits_and_early_ends_are_told(self):
        assert "missed" in self.page(ONE)
        assert "Limited by the generator" in self.page(CLOSED)
        assert "ended early" in self.page(EMPTY)
        assert "No rate was held" in self.page(NONE_HELD)

    def test_a_plot_of_many_values_has_a_bounded_size(self):
        values = np.geomspace(1e-6, 100, 200_000)
        assert len(self.page(outcome(run(values=values)))) < 200_000


class TestAxes:
    @pytest.mark.parametrize(("high", "last"), [(1, 1), (7, 8), (83, 100), (1234, 1500), (0.0003, 0.0003)])
    def test_a_linear_axis_ends_at_a_round_number(self, high, last):
        axis = svg.linear_axis(high, "t")
        assert axis.high == pytest.approx(last)
        assert 2 <= len(axis.ticks) <= 8
        assert axis.place(0) == 0
        assert axis.place(high * 10) == 1

    @pytest.mark.parametrize(("low", "high"), [(0.0001, 0.0001), (3e-5, 0.7), (1e-9, 4000), (0.0, 1.0)])
    def test_a_time_axis_holds_its_values(self, low, high):
        axis = svg.time_axis(low, high, "t")
        assert axis.low <= max(low, 1e-9) * 1.001
        assert axis.high >= high * 0.999
        assert axis.low < axis.high
        assert len(axis.ticks) <= 16

    def test_ticks_are_short(self):
        assert [svg.short_seconds(value) for value in (5e-9, 5e-5, 0.002, 1.0, 20)] == [
            "5 ns",
            "50 µs",
            "2 ms",
            "1 s",
            "20 s",
        ]


def test_the_reports_say_why_a_value_within_its_limit_does_not_hold():
    doubt = "but 7 of 9 calls were never sent or given up"
    doubtful = outcome(
        run(values=VALUES, cut_short=7), bounds=[Judged("max_p99_seconds", 0.5, 0.25, False, doubt)]
    )
    assert f"missed: max_p99_seconds 0.5 (0.25, {doubt})" in as_text(doubtful)
    assert f"0.25, {doubt}" in as_html(doubtful, "title", [])
    assert json.loads(as_json(doubtful))["runs"][0]["cut_short"] == 7

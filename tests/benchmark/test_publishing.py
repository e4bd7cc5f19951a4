"""What the README and the documentation say of speed comes from results.json, by one command."""

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/performance.md")
RESULTS = ROOT / "benchmark" / "results"


def saturated(**rates):
    servers = {
        name: {"rate": [rate], "cpu_us": [1e6 / rate], "generator": [0.97 if rate > 150_000 else 0.5]}
        for name, rate in rates.items()
    }
    return {"connections": 4, "streams": 25, "servers": servers}


@pytest.fixture
def found(module):
    """The results of a run of two sections."""
    w1, w2 = (saturated(**{"hushar": 200_000, "tonic": 100_000, "grpc.aio": 4_000}) for _ in range(2))
    w3, w4 = (saturated(**{"hushar": 3_000, "tonic": 600, "grpc.aio": 250}) for _ in range(2))
    figures = {
        "throughput": {"W1": w1, "W2": w2, "W3": w3, "W4": w4},
        "profile": {"us_a_call": {"model": 0.5}, "lines": ["| part |", "|---|", "| model |"]},
    }
    load = {"seconds": 2.0, "rounds": 3}
    return {
        "machine": module("machine").machine(),
        "versions": {},
        "floors": [line.document() for line in module("floors").floors(figures)],
        "sections": {
            name: {"when": "2026-01-02", "commit": "abc", "load": load, "figures": each}
            for name, each in figures.items()
        },
    }


@pytest.fixture
def root(tmp_path):
    """A checkout of the pages, with a plot."""
    for name in PAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "benchmark" / "results").mkdir(parents=True)
    (tmp_path / "benchmark" / "results" / "throughput.svg").write_text("<svg/>")
    return tmp_path


def test_the_sentence_has_the_ratios_and_by_what_they_were_taken(module, found):
    assert module("publish").sentence(found) == (
        "On one core and with the same work to do, hushar makes 50 × (W1), 50 × (W2), 12 × (W3) and "
        "12 × (W4) as many calls as grpc.aio + onnxruntime, and 2.0 × (W1), 2.0 × (W2), 5.0 × (W3) and "
        "5.0 × (W4) as many as a Rust server, tonic + onnxruntime (by CPU time a call in W1 and W2, where "
        "a server's core was not the limit)."
    )


def test_without_cargo_there_is_no_word_of_tonic(module, found):
    for measured in found["sections"]["throughput"]["figures"].values():
        del measured["servers"]["tonic"]
    assert "Rust" not in module("publish").sentence(found)


def test_both_pages_are_filled_and_filling_them_again_changes_nothing(module, found, root):
    publish = module("publish").publish
    publish(found, root)
    once = [(root / name).read_text() for name in PAGES]
    readme, page = once
    assert "50 × (W1)" in readme
    assert "first-screen.svg" in readme
    assert "| model |" in page
    assert "W1, 4 x 25, against grpc.aio | ≥ 45 × | 50 × | holds | CPU time a call" in page
    assert "](performance/throughput.svg)" in page
    assert (root / "docs" / "performance" / "throughput.svg").read_text() == "<svg/>"
    publish(found, root)
    assert [(root / name).read_text() for name in PAGES] == once


def test_a_page_without_the_place_is_an_error(module):
    with pytest.raises(ValueError, match="no place 'floors'"):
        module("publish").filled("# Page\n", "floors", "…")


def test_the_page_of_results_has_every_section(module, found):
    page = module("report").markdown(found, ["throughput.svg"])
    assert "## throughput" in page
    assert "| hushar | 200,000 (generator's limit) | 5 | 50 | 200,000 |" in page
    assert "× grpc.aio, by CPU time a call" in page
    assert "## profile" in page
    assert "2026-01-02, commit abc; 3 rounds of 2 s." in page


def section(figures):
    return {"when": "2026-01-02", "commit": "abc", "load": {"seconds": 2.0, "rounds": 3}, "figures": figures}


def test_the_page_says_which_server_waited_but_not_where_that_is_the_point(module, found):
    found["sections"]["throughput"]["figures"]["W3"]["servers"]["tonic"]["cpu_us"] = [400.0]
    alone = {"hushar": {"rate": [9_000], "cpu_us": [50], "generator": [0.2]}}
    one = {"W1": {"connections": 1, "streams": 1, "servers": alone}}
    found["sections"]["one-at-a-time"] = section(one)
    page = module("report").markdown(found, [])
    assert "| tonic | 600 (neither core busy: 24 %) | 400 | 10 | 600 |" in page  # by CPU time a call
    assert "| hushar | 9,000 | 50 |  | 9,000 |" in page


def test_figures_are_tables_for_people(module, found):
    found["sections"]["kernel-vs-reference"] = section(
        {
            "stages": ["DecodeTime", "VectorizationTime"],
            "mean_us": {"hushar": [67.0, 68.0], "hushar (reference)": [8_401.0, 8_341.0]},
        }
    )
    found["sections"]["overload"] = section(
        {
            "capacity": [1_600, 1_500],
            "offered": [4_800, 4_500],
            "deadline_seconds": 0.5,
            "in_time": [1_450.5, 1_400.0],
            "refused_p50_ms": [3.65, None],
            "refused_p99_ms": [9.8, None],
            "statuses": [{"0": 3_292, "8": 7_567, "unanswered": 1}, {"0": 3_300, "4": 2}],
            "generator_late_p99_ms": [0.02, 0.04],
            "rss_growth_bytes": 6_561_792,
        }
    )
    found["sections"]["memory"] = section({"warm_peak_bytes": 110_358_528, "one_row_bytes": [1_000, 2_000]})
    lines = module("report").markdown(found, []).splitlines()
    for line in (
        "W3, µs a matrix: DecodeTime + VectorizationTime",
        "| hushar | 67.5 | 67 · 68 |",
        "| hushar (reference) | 8,371 | 8,401 · 8,341 |",
        "| answered within 0.5 s, calls a second | 1,450 · 1,400 |",
        "| refused after, median, ms | 3.65 · – |",
        "| calls: OK | 3,292 · 3,300 |",
        "| calls: RESOURCE_EXHAUSTED | 7,567 · 0 |",
        "| calls: unanswered | 1 · 0 |",
        "| calls: DEADLINE_EXCEEDED | 0 · 2 |",
        "| RSS growth in all rounds, MB | 6.56 |",
        "| warm peak, bytes | 110,358,528 |",
        "| one row, bytes | 1,000 · 2,000 |",
    ):
        assert line in lines
    assert not any("{" in line for line in lines)


def test_the_pages_say_what_the_results_say(module, root):
    """No number in them was written by hand."""
    results = RESULTS / "results.json"
    if not results.exists():
        pytest.skip("benchmark/run.py has not been run here")
    for picture in RESULTS.glob("*.svg"):
        shutil.copyfile(picture, root / "benchmark" / "results" / picture.name)
    module("publish").publish(json.loads(results.read_text()), root)
    for name in PAGES:
        assert (root / name).read_text() == (ROOT / name).read_text(), name

"""The plots: one for each thing that was measured, the same from the same figures."""

import pytest

SERVERS = {"hushar": 100_000.0, "hushar (reference)": 30_000.0, "tonic": 70_000.0, "grpc.aio": 4_000.0}


@pytest.fixture
def draw(module):
    pytest.importorskip("matplotlib", reason="matplotlib is in the dependency group bench only")
    return module("plots").draw


def saturated(connections, streams):
    servers = {
        name: {"rate": [rate], "cpu_us": [1e6 / rate], "generator": [0.5]} for name, rate in SERVERS.items()
    }
    return {"connections": connections, "streams": streams, "servers": servers}


def rising(rate):
    return [{"rate": rate * step, "p50": 100.0 * step, "p99": 200.0 * step} for step in (1, 2, 3)]


FIGURES = {
    "throughput": {"W1": saturated(4, 25), "W3": saturated(2, 4)},
    "connections": {"W1": saturated(100, 1)},
    "latency": {"rising": {"hushar": rising(1_000), "grpc.aio": rising(500), "purerpc": []}},
    "rows": {
        "W1": {"rows": [1, 10], "servers": {"hushar": {"cpu_us": [5.0, 0.5], "wall_us": [50.0, 5.0]}}},
    },
}


def test_each_has_its_plot_and_the_same_figures_make_the_same_file(draw, tmp_path):
    names = [f"{name}.svg" for name in ("first-screen", "throughput", "latency", "rows")]
    assert draw(FIGURES, tmp_path) == names
    first = [(tmp_path / name).read_bytes() for name in names]
    draw(FIGURES, tmp_path)
    assert [(tmp_path / name).read_bytes() for name in names] == first
    assert all(text.startswith(b"<?xml") for text in first)


def test_what_was_not_measured_is_not_drawn(draw, tmp_path):
    assert draw({"rows": FIGURES["rows"]}, tmp_path) == ["rows.svg"]
    assert draw({"latency": {"rising": {"hushar": []}}}, tmp_path) == []

"""The floors follow from what was measured, and say by what they were decided."""

import pytest

SERVERS = ("hushar", "grpc.aio")


def saturated(ours, theirs, *, generator=0.5):
    """A workload's figures: each server's (calls a second, CPU time a call)."""
    servers = {
        name: {"rate": [rate], "cpu_us": [cpu], "generator": [generator]}
        for name, (rate, cpu) in zip(SERVERS, (ours, theirs), strict=True)
    }
    return {"connections": 4, "streams": 25, "servers": servers}


def lines(module, sections):
    return {line.what: line for line in module("floors").floors(sections)}


def throughput(**given):
    return {"throughput": {name: saturated(**given) for name in ("W1", "W2", "W3", "W4")}}


def test_a_ratio_is_by_calls_a_second(module):
    line = lines(module, throughput(ours=(100_000, 8), theirs=(2_000, 500)))["W1, 4 x 25, against grpc.aio"]
    assert (line.reached, line.by, line.holds) == (50, "calls a second", True)
    assert line.also == "62.5 by CPU time a call"


def test_where_the_generator_was_the_limit_it_is_by_cpu_time_and_says_so(module):
    sections = throughput(ours=(80_000, 8), theirs=(2_000, 500), generator=0.96)
    line = lines(module, sections)["W1, 4 x 25, against grpc.aio"]
    assert (line.reached, line.by, line.holds) == (62.5, "CPU time a call", True)
    assert "load generator was the limit" in line.also


def test_where_the_other_server_waits_it_is_by_cpu_time_and_says_so(module):
    sections = throughput(ours=(100_000, 9), theirs=(500, 480))
    line = lines(module, sections)["W1, 4 x 25, against grpc.aio"]
    assert (line.reached, line.by, line.holds) == (pytest.approx(53.33, abs=0.01), "CPU time a call", True)
    assert line.also == "200 by calls a second; grpc.aio (neither core busy: 24 %)"


def test_where_ours_waits_its_waiting_is_not_left_out(module):
    sections = throughput(ours=(50_000, 8), theirs=(2_000, 500))
    line = lines(module, sections)["W1, 4 x 25, against grpc.aio"]
    assert (line.reached, line.by, line.holds) == (25, "calls a second", False)
    assert line.also == "62.5 by CPU time a call; hushar (neither core busy: 40 %)"


def test_where_both_wait_the_lower_ratio_decides(module):
    line = lines(module, throughput(ours=(50_000, 8), theirs=(400, 500)))["W1, 4 x 25, against grpc.aio"]
    assert (line.reached, line.by) == (62.5, "CPU time a call")
    assert (
        line.also
        == "125 by calls a second; hushar (neither core busy: 40 %); grpc.aio (neither core busy: 20 %)"
    )


def test_where_the_generator_is_busy_nobody_waits(module):
    sections = throughput(ours=(50_000, 8), theirs=(400, 500), generator=0.8)
    assert lines(module, sections)["W1, 4 x 25, against grpc.aio"].also == "62.5 by CPU time a call"


def test_one_call_at_a_time_is_by_calls_a_second_though_no_core_is_busy(module):
    measured = {**saturated((9_000, 50), (2_000, 300), generator=0.1), "connections": 1, "streams": 1}
    line = lines(module, {"one-at-a-time": {"W1": measured}})["W1, one call at a time, against grpc.aio"]
    assert (line.reached, line.by, line.also) == (4.5, "calls a second", "6 by CPU time a call")


@pytest.mark.parametrize(("saturated", "waits"), [(True, " (neither core busy: 24 %)"), (False, "")])
def test_the_line_that_is_printed_says_who_waited(module, capsys, saturated, waits):
    found = {
        "tonic": {"rate": [165, 170, 160], "cpu_us": [1447], "generator": [0.04]},
        "hushar": {"rate": [3_184], "cpu_us": [309], "generator": [0.28]},
    }
    module("bench").say_rates("W3, 2 x 4", found, saturated=saturated)
    title, first, second = capsys.readouterr().err.splitlines()
    assert title == "W3, 2 x 4"
    assert first.endswith(f"1,447.00 us of CPU a call{waits}")
    assert second.endswith("309.00 us of CPU a call")


def test_medians_are_compared(module):
    sections = throughput(ours=(100_000, 8), theirs=(2_000, 500))
    sections["throughput"]["W1"]["servers"]["hushar"]["rate"] = [1, 90_000, 100_000_000]
    assert lines(module, sections)["W1, 4 x 25, against grpc.aio"].reached == 45


def test_a_row_is_compared_with_the_cheapest_of_smaller_calls(module):
    measured = {
        "rows": [1, 10, 100],
        "servers": {"hushar": {"cpu_us": [9.0, 1.0, 1.1], "wall_us": [9.0, 1.0, 1.2]}},
    }
    found = lines(module, {"rows": {"W1": measured}})
    cpu = found["W1, CPU time a row, against the lowest of smaller calls"]
    wall = found["W1, wall time a row, against the lowest of smaller calls"]
    assert (cpu.reached, cpu.holds) == (1.1, True)
    assert (wall.reached, wall.holds) == (1.2, False)
    assert "100 rows" in wall.also


@pytest.mark.parametrize(("peak", "holds"), [(107e6, True), (109e6, False)])
def test_memory_may_grow_by_three_percent_or_eight_megabytes(module, peak, holds):
    section = {"warm_peak_bytes": 100e6, "round_peak_bytes": [90e6, peak], "one_row_bytes": [50e6, 50e6]}
    found = lines(module, {"memory": section})
    assert found["RSS peak of rounds of mixed sizes, above warm-up"].holds is holds
    assert found["RSS growth under one-row calls at full speed"].holds


def test_a_log_record_must_be_delivered_or_counted(module):
    servers = {
        name: {"rate": [100.0], "cpu_us": [1.0], "generator": [0.1]}
        for name in ("hushar", "hushar, logging all")
    }
    books = {"answered": 1000, "accepted": 1000, "delivered": 990, "dropped": 8, "queue_bytes": 64 << 20}
    load = {"connections": 4, "streams": 25}
    measured = {**load, "servers": servers, "rss_growth_bytes": 1e6, **books}
    found = lines(module, {"logging": dict.fromkeys(("W1", "W2", "W3", "W4"), measured)})
    assert not found["W1, logging all, records not delivered"].holds
    uncounted = found["W3, logging all, records lost and not counted"]
    assert (uncounted.reached, uncounted.holds) == (2, False)


def test_beside_large_calls_the_p99_may_rise_by_two_slices(module):
    section = {
        "small_calls_a_second": 500.0,
        "slice_us": [1000.0],
        "large_alone_us": [10_000.0],
        "large_beside_us": [15_000.0],
        "small_p99_alone_us": [200.0],
        "small_p99_beside_us": [2100.0],
    }
    found = lines(module, {"beside": section})
    assert found["p99 of one-row calls beside 10,000-row calls, raised by slices"].reached == 1.9
    assert all(line.holds for line in found.values())

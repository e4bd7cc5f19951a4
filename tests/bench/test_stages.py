import pytest

from hushar.bench.stages import NoMetrics, Totals, mean_seconds, parse_totals, read_totals
from hushar.client.address import Address

TEXT = """\
# HELP hushar_stage_duration_seconds Stages of a matrix.
# TYPE hushar_stage_duration_seconds histogram
hushar_stage_duration_seconds_bucket{stage="run",le="0.0001"} 3
hushar_stage_duration_seconds_sum{stage="run"} 1.5
hushar_stage_duration_seconds_count{stage="run"} 3
hushar_stage_duration_seconds_sum{model="a",stage="queue",version="1"} 0.25 1700000000
hushar_stage_duration_seconds_count{model="a",stage="queue",version="1"} 2
hushar_stage_duration_seconds_sum{stage="queue", model="b"} 0.5
hushar_stage_duration_seconds_count{stage="queue", model="b"} 4
hushar_stage_duration_seconds_created{stage="run"} 17
hushar_stage_duration_seconds_count{stage="bad"} many
hushar_stage_duration_seconds_count{other="x"} 7
hushar_rows_total 12
# EOF
"""


def test_sums_and_counts_of_stages_are_found_among_all_else():
    totals = parse_totals(TEXT)
    assert totals.sums == {"run": 1.5, "queue": 0.75}
    assert totals.counts == {"run": 3, "queue": 6}


def test_line_ends_of_other_systems_are_no_matter():
    assert parse_totals(TEXT.replace("\n", "\r\n")) == parse_totals(TEXT)


@pytest.mark.parametrize("text", ["", "hushar_rows_total 3\n", "<html>"])
def test_without_any_stage_there_are_no_metrics(text):
    with pytest.raises(NoMetrics, match="there is no hushar_stage_duration_seconds"):
        parse_totals(text)


def test_a_mean_is_that_of_the_matrices_in_between():
    before = Totals({"run": 1.0, "queue": 1.0, "idle": 3.0}, {"run": 10, "queue": 10, "idle": 3})
    after = Totals(
        {"run": 1.5, "queue": 3.0, "idle": 3.0, "new": 4.0}, {"run": 20, "queue": 14, "idle": 3, "new": 2}
    )
    assert mean_seconds(before, after) == {"run": 0.05, "queue": 0.5, "new": 2.0}


def test_counters_of_a_server_that_began_anew_count_from_zero():
    before, after = Totals({"run": 9.0}, {"run": 90}), Totals({"run": 0.5}, {"run": 5})
    assert mean_seconds(before, after) == {"run": 0.1}


async def test_what_is_no_http_server_has_no_metrics(nursery, closed_port, serve):
    with pytest.raises(NoMetrics, match=r"metrics cannot be read: Connection refused"):
        await read_totals(Address("127.0.0.1", closed_port))
    with pytest.raises(NoMetrics, match=r"metrics cannot be read: "):
        await read_totals(Address("127.0.0.1", await serve()))

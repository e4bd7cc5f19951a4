from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.logreading.times import parse_time, unix_micros

NOW = 1_800_000_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("7d", 604_800),
        ("1.5h", 5400),
        ("0s", 0),
        ("0.000001s", 1e-6),
    ],
)
def test_an_age_counts_back_from_now(text, seconds):
    assert parse_time(text, now_unix_micros=NOW) == NOW - round(seconds * 1_000_000)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T08:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31 08:00:01.000001", datetime(2026, 1, 31, 8, 0, 1, 1, tzinfo=UTC)),
        ("2026-01-31T08:00:00Z", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31T08:00:00+05:30", datetime(2026, 1, 31, 2, 30, tzinfo=UTC)),
        ("20260131T080000Z", datetime(2026, 1, 31, 8, tzinfo=UTC)),
    ],
)
def test_iso_8601_is_utc_where_it_has_no_offset(text, moment):
    assert parse_time(text, now_unix_micros=NOW) == unix_micros(moment)


@pytest.mark.parametrize(
    "text", ["", "now", "10", "10w", "-5m", "1 h", "5M", "1e3s", "٣h", "2026-13-01", "yesterday"]
)
def test_anything_else_is_named(text):
    with pytest.raises(
        ValueError, match=r"is no time: expected ISO 8601, .* or an age, such as 90s"
    ) as caught:
        parse_time(text, now_unix_micros=NOW)
    assert repr(text) in str(caught.value)


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_exact(moment):
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=unix_micros(moment)) == moment
    assert parse_time(moment.isoformat(), now_unix_micros=NOW) == unix_micros(moment)


def test_the_first_and_the_last_moment_have_an_offset_too():
    east, west = timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))
    assert unix_micros(datetime.min.replace(tzinfo=east)) < unix_micros(datetime.min)
    assert unix_micros(datetime.max.replace(tzinfo=west)) > unix_micros(datetime.max)

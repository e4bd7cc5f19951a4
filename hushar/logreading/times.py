"""Points in time as a person writes them: ISO 8601, or an age such as `10m`."""

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AGE: Final = re.compile(r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,18})?)(?P<unit>[smhd])", re.ASCII)
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MICROS_A_SECOND: Final = 1_000_000
MICROS_A_DAY: Final = 86400 * MICROS_A_SECOND


def parse_time(text: str, *, now_unix_micros: int) -> int:
    """Microseconds since the epoch. Raises ValueError, which says what is read.

    `text` is ISO 8601 (a date alone is its midnight; UTC where no offset is given), or an age: a number
    and `s`, `m`, `h` or `d`, counted back from `now_unix_micros`.
    """
    age = _AGE.fullmatch(text)
    if age is not None:
        return now_unix_micros - int(Fraction(age["number"]) * _UNIT_SECONDS[age["unit"]] * MICROS_A_SECOND)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time: expected ISO 8601, such as 2026-01-31T08:00:00Z, "
            "or an age, such as 90s, 10m, 1h, 7d"
        ) from None
    return unix_micros(moment)


def unix_micros(moment: datetime) -> int:
    """Microseconds since the epoch, exactly; UTC where `moment` has no offset."""
    offset = moment.utcoffset() or timedelta()
    return (moment.replace(tzinfo=UTC) - _EPOCH - offset) // timedelta(microseconds=1)

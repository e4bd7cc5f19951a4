"""When a request is tried again, by botocore's standard rules: attempts, delays, and a quota of retries.

Only a request that failed for a moment is tried again here; an outage is the log sidecar's business,
which has all the time in the world.
"""

from random import Random
from typing import Final

from hushar_aws.errors import AwsError, Kind

MAX_ATTEMPTS: Final = 3
MAX_DELAY_SECONDS: Final = 20.0
MAX_LONGER_SECONDS: Final = 5.0
"""So much longer than the drawn delay an answer may ask to wait."""
CAPACITY: Final = 500

_SCALES: Final[dict[Kind, float]] = {"throttled": 1.0, "transient": 0.05}
_COSTS: Final[dict[Kind, int]] = {"throttled": 5, "transient": 14}


def is_retryable(error: AwsError) -> bool:
    """Whether the same request may fare better a moment later."""
    return error.kind in _SCALES


def delay_seconds(error: AwsError, attempt: int, random: Random) -> float:
    """How long to wait after the attempt number `attempt` (from 1): full jitter below a doubling ceiling."""
    ceiling = min(_SCALES[error.kind] * 2.0 ** (attempt - 1), MAX_DELAY_SECONDS)
    drawn = random.random() * ceiling
    asked = error.retry_after_seconds
    return drawn if asked is None else max(drawn, min(asked, drawn + MAX_LONGER_SECONDS))


class RetryQuota:
    """How many retries one client has left: what fails all the time is not asked three times as often."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._left = capacity

    def take(self, error: AwsError) -> int | None:
        """What the retry after `error` costs; None if there is not so much left."""
        cost = _COSTS[error.kind]
        if cost > self._left:
            return None
        self._left -= cost
        return cost

    def give_back(self, cost: int | None) -> None:
        """A request succeeded; `cost` is that of its last retry, None if there was none."""
        self._left = min(self._capacity, self._left + (1 if cost is None else cost))

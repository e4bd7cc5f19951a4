"""Back-off with jitter, as a pure iterator: no clock, no sleep."""

from collections.abc import Iterator
from random import Random


def jittered_delays(random: Random, minimum_seconds: float, maximum_seconds: float) -> Iterator[float]:
    """Seconds to wait before the next attempt, without end; a new iterator after each success.

    Full jitter: each delay is drawn evenly from all between `minimum_seconds` and a ceiling, so that
    servers that lost one sink at one moment do not come back to it at one moment. The ceiling is
    twice the minimum at first and doubles up to `maximum_seconds`.
    """
    ceiling = minimum_seconds
    while True:
        # Doubling before drawing: the first delay has room for jitter too. Bounded before it can
        # overflow, whatever the number of attempts.
        ceiling = min(maximum_seconds, ceiling * 2)
        yield random.uniform(min(minimum_seconds, ceiling), ceiling)

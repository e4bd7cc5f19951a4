"""A sweep: a rate, and a higher one, until the server or the generator does not hold it; and all bounds."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hushar.bench.options import Bounds, Load, Setup
from hushar.bench.runs import ANSWERED_SHARE, Context, RunResult, measure
from hushar.rpc.client_errors import ConnectionLostError

STEP: Final = 1.5
"""From a rate to the next, at most."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A bound, and whether it was held."""

    name: str
    """As its option, with underscores."""
    limit: float
    value: float | None
    """None where there is nothing to measure: then it was not held."""
    held: bool
    doubt: str = ""
    """Why the value is not to be trusted, in a clause; empty where it is."""

    @property
    def figure(self) -> str:
        """The value and what is to be known of it, for a person."""
        if self.value is None:
            return "nothing measured"
        return f"{self.value:.4g}" + (f", {self.doubt}" if self.doubt else "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a command has measured."""

    setup: Setup
    runs: Sequence[RunResult]
    bounds: Sequence[Judged]
    is_sweep: bool = False
    highest_rate: float | None = None
    """The highest that a sweep's server held; None where it held none."""
    broke: str = ""
    """Why a sweep's last run broke."""
    lost: bool = False
    """There was no server any more for a sweep's next run."""

    @property
    def interrupted(self) -> bool:
        """Whether the user ended it early."""
        return any(run.interrupted for run in self.runs)

    @property
    def held(self) -> bool:
        """Whether all bounds were held, and some rate if it is a sweep."""
        return all(bound.held for bound in self.bounds) and (
            not self.is_sweep or self.highest_rate is not None
        )

    @property
    def connected(self) -> bool:
        """Whether there was a server at the end."""
        return not self.lost and self.runs[-1].connected


async def run_once(setup: Setup, load: Load, context: Context) -> Outcome:
    """One run, judged. Raises ConnectionLostError where there is no server."""
    result = await measure(setup, load, context)
    return Outcome(setup, [result], list(judge(setup.bounds, result)))


async def sweep(setup: Setup, first: float, context: Context) -> Outcome:
    """Runs at rising rates, the last of which is the first that broke.

    Raises ConnectionLostError where there is no server for the first.
    """
    runs: list[RunResult] = []
    highest: RunResult | None = None
    rate, broke, lost = first, "", False
    while True:
        try:
            result = await measure(setup, Load(rate=rate), context)
        except ConnectionLostError as error:
            if not runs:
                raise
            broke, lost = str(error.status.status_message), True
            break
        runs.append(result)
        broke = "" if result.interrupted else reason_to_stop(setup.bounds, result)
        if broke or result.interrupted:
            break
        highest = result
        rate = next_rate(rate)
    # The bounds are held by the highest rate that held them, which is what the sweep is about.
    bounds = list(judge(setup.bounds, highest or runs[-1]))
    return Outcome(
        setup,
        runs,
        bounds,
        is_sweep=True,
        highest_rate=None if highest is None else highest.load.rate,
        broke=broke,
        lost=lost,
    )


def next_rate(rate: float) -> float:
    """The rate after this one; a whole number where that is precise enough."""
    following = rate * STEP
    return float(math.floor(following)) if following >= 100 else following


def reason_to_stop(bounds: Bounds, result: RunResult) -> str:
    """Why a run of a sweep broke; empty where it did not."""
    for bound in judge(bounds, result):
        # The least rate is for the sweep as a whole: it begins below.
        if not bound.held and bound.name != "min_rate" and bound.value is not None:
            if bound.doubt and result.limited:
                break
            return f"{bound.name} is {bound.value:.4g}, {bound.doubt or f'above {bound.limit:g}'}"
    rate = result.load.rate or 0.0
    if result.calls_per_second < ANSWERED_SHARE * rate:
        return f"{result.calls_per_second:.4g} calls a second were answered of {rate:g}"
    if result.limited:
        return f"the generator was the limit: {'; '.join(result.limits)}"
    return ""


def judge(bounds: Bounds, result: RunResult) -> Iterator[Judged]:
    """Each bound that was given."""
    latency = result.latency
    for name, limit, share in (
        ("max_p50_seconds", bounds.max_p50_seconds, 0.5),
        ("max_p99_seconds", bounds.max_p99_seconds, 0.99),
    ):
        if limit is not None:
            value = latency.percentile(share)
            # Of the others it is only known that they took longer than they were waited for.
            known = latency.count - result.cut_short >= share * latency.count - 1e-9
            within = value is not None and value <= limit
            doubt = f"but {result.cut_short:,} of {latency.count:,} calls were never sent or given up"
            yield Judged(name, limit, value, within and known, doubt if within and not known else "")
    if bounds.max_error_rate is not None:
        rate = result.error_rate
        yield Judged(
            "max_error_rate", bounds.max_error_rate, rate, rate is not None and rate <= bounds.max_error_rate
        )
    if bounds.min_rate is not None:
        rate = result.calls_per_second
        yield Judged("min_rate", bounds.min_rate, rate, rate >= bounds.min_rate)

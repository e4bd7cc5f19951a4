"""The server's own account of its stages: what /metrics of its admin port says before and after.

hushar_stage_duration_seconds is a histogram; of it only `_sum` and `_count` are looked at, in Prometheus'
text format 0.0.4 or OpenMetrics. A server without that port is no failure: its stages are then not known.
"""

import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import trio

from hushar.client.address import Address

_METRIC: Final = "hushar_stage_duration_seconds"
_SECONDS: Final = 5.0
_MOST_BYTES: Final = 16 << 20
_SAMPLE: Final = re.compile(
    rf"{_METRIC}_(?P<what>sum|count)(?:\{{(?P<labels>[^}}]*)\}})?[ \t]+(?P<value>[^ \t\r]+)(?:[ \t].*)?"
)
_STAGE: Final = re.compile(r'(?:^|,)\s*stage="(?P<stage>[^"\\]*)"')


class NoMetrics(Exception):
    """There is nothing to be read there. `str()` is a sentence."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sum and count of each stage since the server's start."""

    sums: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)


def parse_totals(text: str) -> Totals:
    """The stages in an exposition. Series of one stage (other labels, such as a model's) are added up.

    Raises NoMetrics where there is none.
    """
    totals: dict[str, dict[str, float]] = {"sum": {}, "count": {}}
    for line in text.split("\n"):
        sample = _SAMPLE.fullmatch(line.strip())
        if sample is None:
            continue
        stage = _STAGE.search(sample["labels"] or "")
        try:
            value = float(sample["value"])
        except ValueError:
            continue
        if stage is not None:
            values = totals[sample["what"]]
            values[stage["stage"]] = values.get(stage["stage"], 0.0) + value
    if not totals["count"]:
        raise NoMetrics(f"there is no {_METRIC}")
    return Totals(totals["sum"], totals["count"])


def mean_seconds(before: Totals, after: Totals) -> dict[str, float]:
    """Stage → mean of the matrices between two readings; stages without any are left out.

    A counter that went back was reset (the server began anew): all of it lies between.
    """
    means = {}
    for stage, count in after.counts.items():
        first = before.counts.get(stage, 0.0)
        begun_anew = count < first
        matrices = count if begun_anew else count - first
        seconds = after.sums.get(stage, 0.0) - (0.0 if begun_anew else before.sums.get(stage, 0.0))
        if matrices > 0:
            means[stage] = max(0.0, seconds / matrices)
    return means


async def read_totals(address: Address) -> Totals:
    """The totals now. Raises NoMetrics."""
    try:
        text = await trio.to_thread.run_sync(_get, address, abandon_on_cancel=True)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise NoMetrics(f"http://{address}/metrics cannot be read: {reason}") from error
    try:
        return parse_totals(text)
    except NoMetrics as error:
        raise NoMetrics(f"http://{address}/metrics: {error}") from None


def _get(address: Address) -> str:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_SECONDS)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        body = response.read(_MOST_BYTES)
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"status {response.status}")
    finally:
        connection.close()
    return body.decode("utf-8", "replace")

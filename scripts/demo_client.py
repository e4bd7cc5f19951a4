"""The Python part of scripts/demo: score the demo's rows, and show the metrics that the server wrote.

python scripts/demo_client.py score HOST:PORT    rows of hushar/demo/rows.json, each a call of its own
python scripts/demo_client.py metrics FILE       the metric lines in the server's stderr
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import trio
from numpy.typing import NDArray

from hushar.client import Client

DEMO = Path(__file__).resolve().parent.parent / "hushar" / "demo"
INDENT = "    "


def main(arguments: Sequence[str]) -> int:
    """Run the part that is named."""
    match arguments:
        case ["score", address]:
            trio.run(score, address)
        case ["metrics", file]:
            for line in metrics(Path(file).read_text(encoding="utf-8").splitlines()):
                print(INDENT + line)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


async def score(address: str) -> None:
    """Send every row and print what came back beside the species that the bird really has."""
    rows = json.loads((DEMO / "rows.json").read_text(encoding="utf-8"))
    labels = json.loads((DEMO / "labels.json").read_text(encoding="utf-8"))
    scores: dict[str, NDArray[np.float32]] = {}

    async def call(row: Mapping[str, Any]) -> None:
        """One call with one row; features are named, their values plain Python."""
        features = {name: value for name, kinds in row["features"].items() for value in kinds.values()}
        result = await client.score([features], row_ids=[row["row_id"]], request_id=f"demo-{row['row_id']}")
        scores[row["row_id"]] = result[0]

    kinds = {name: kind for row in rows for name, kinds in row["features"].items() for kind in kinds}
    client = Client.connect(address, kinds=kinds, timeout_seconds=30)
    async with client, trio.open_nursery() as nursery:
        for row in rows:
            nursery.start_soon(call, row)
    for line in score_table([row["row_id"] for row in rows], scores, labels):
        print(INDENT + line)


def score_table(
    row_ids: Sequence[str], scores: Mapping[str, NDArray[np.float32]], labels: Mapping[str, Any]
) -> Iterator[str]:
    """A line a row: its scores with five decimals, the best class, and the true one."""
    classes: list[str] = labels["classes"]
    yield "".join([f"{'row':<14}", *(f"{name:>11}" for name in classes), f"  {'predicted':<11}true"])
    right = 0
    for row_id in row_ids:
        predicted, true = classes[int(scores[row_id].argmax())], labels["labels"][row_id]
        right += predicted == true
        numbers = "".join(f"{value:>11.5f}" for value in scores[row_id])
        yield f"{row_id:<14}{numbers}  {predicted:<11}{true}{'' if predicted == true else '  (differs)'}"
    yield f"{right} of {len(row_ids)} as they really are; the model has seen none of these birds"


def metrics(lines: Sequence[str]) -> Iterator[str]:
    """Every metric summary among the lines of the server's stderr, as tables."""
    for line in lines:
        if not line.startswith('{"metrics":'):
            continue
        summary = json.loads(line)
        figures = ("count", "mean", "p50", "p90", "p99", "max")
        yield f"{summary['metrics']}, {summary['interval_seconds']} s until {summary['time']}"
        yield "".join([f"  {'':<28}", *(f"{figure:>10}" for figure in figures)])
        for name, values in summary["distributions"].items():
            unit = " (µs)" if values["unit"] == "Microseconds" else ""
            yield "".join([f"  {name + unit:<28}", *(f"{values[figure]:>10}" for figure in figures)])
        for name, value in summary["counters"].items():
            yield f"  {name:<28}{json.dumps(value):>10}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Put the benchmark's results where people read them: the README's first screen and docs/performance.md.

    python benchmark/publish.py        from benchmark/results/results.json (run.py --publish does it too)

Every number in those places comes from here, between the marks; nothing is copied by hand.
"""

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from floors import BY_CPU
from plots import multiples
from report import floors_table
from serve_and_load import AIO, HUSHAR, TONIC

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmark" / "results"
LINE = 120
"""Characters of a line of a page."""
PICTURES = {
    "throughput": "Calls a second and CPU time a call, few connections and many",
    "latency": "Latency against the offered load",
    "rows": "Cost of a row against the rows of a call",
}
"""Those of docs/performance.md, and what they show."""


def main() -> int:
    """Rewrite both pages. Status 2: there are no results."""
    file = RESULTS / "results.json"
    if not file.exists():
        print("publish: there are no results; python benchmark/run.py makes them", file=sys.stderr)
        return 2
    publish(json.loads(file.read_text(encoding="utf-8")), ROOT)
    return 0


def publish(found: Mapping[str, Any], root: Path) -> None:
    """Fill the marked places of README.md and docs/performance.md below `root`, and copy the plots."""
    pictures = root / "docs" / "performance"
    pictures.mkdir(exist_ok=True)
    drawn = [name for name in PICTURES if (root / "benchmark" / "results" / f"{name}.svg").exists()]
    for name in drawn:
        shutil.copyfile(root / "benchmark" / "results" / f"{name}.svg", pictures / f"{name}.svg")
    for page, places in (
        (root / "README.md", {"comparison": comparison(found)}),
        (
            root / "docs" / "performance.md",
            {
                "comparison": textwrap.fill(sentence(found), LINE),
                "plots": plots(drawn),
                "floors": floors(found),
                "profile": profile(found),
            },
        ),
    ):
        text = page.read_text(encoding="utf-8")
        for place, content in places.items():
            text = filled(text, place, content)
        page.write_text(text, encoding="utf-8")


def filled(page: str, place: str, content: str) -> str:
    """The page with other content between the marks of a place. Raises ValueError if it has no such place."""
    begin, end = f"<!-- {place}: benchmark/publish.py -->", f"<!-- end of {place} -->"
    pattern = re.compile(f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"the page has no place {place!r}")
    return pattern.sub(lambda _: f"{content.strip()}\n", page)


def comparison(found: Mapping[str, Any]) -> str:
    """The README's plot and sentence."""
    picture = "![Each server as a multiple of grpc.aio, one core](benchmark/results/first-screen.svg)"
    links = "[How it is measured](docs/benchmark.md), [all of it](benchmark/results/results.md)."
    return f"{picture}\n\n{textwrap.fill(sentence(found), LINE)}\n{links}"


def sentence(found: Mapping[str, Any]) -> str:
    """How hushar compares, in a sentence."""
    section = found["sections"]["throughput"]["figures"]
    names = [HUSHAR, TONIC, AIO]
    each = {workload: multiples(measured, names) for workload, measured in section.items()}
    ours = {workload: values[HUSHAR] for workload, (values, _) in each.items()}
    text = f"On one core and with the same work to do, hushar makes {_list(ours)} as many calls"
    text += " as grpc.aio + onnxruntime"
    if all(TONIC in values for values, _ in each.values()):
        than_tonic = {name: values[HUSHAR] / values[TONIC] for name, (values, _) in each.items()}
        text += f", and {_list(than_tonic)} as many as a Rust server, tonic + onnxruntime"
    by_cpu = [workload for workload, (_, by) in each.items() if by == BY_CPU]
    if by_cpu:
        text += f" (by CPU time a call in {' and '.join(by_cpu)}, where a server's core was not the limit)"
    return f"{text}."


def plots(drawn: Sequence[str]) -> str:
    """The plots, in the page's folder."""
    return "\n\n".join(f"![{PICTURES[name]}](performance/{name}.svg)" for name in drawn)


def floors(found: Mapping[str, Any]) -> str:
    """The table of floors, with where and when they were measured."""
    machine, sections = found["machine"], found["sections"].values()
    commits = ", ".join(sorted({section["commit"] for section in sections}))
    days = ", ".join(sorted({section["when"] for section in sections}))
    where = (
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}; {days}, commit {commits}."
    )
    return "\n".join([where, "", *floors_table(found["floors"])])


def profile(found: Mapping[str, Any]) -> str:
    """The table of the hot path."""
    return "\n".join(found["sections"]["profile"]["figures"]["lines"])


def _list(ratios: Mapping[str, float]) -> str:
    """`52 × (W1), 41 × (W2) and 14 × (W3)`."""
    *first, last = _each(ratios)
    return f"{', '.join(first)} and {last}" if first else last


def _each(ratios: Mapping[str, float]) -> Iterator[str]:
    for workload, ratio in ratios.items():
        yield f"{ratio:.0f} × ({workload})" if ratio >= 10 else f"{ratio:.1f} × ({workload})"


if __name__ == "__main__":
    sys.exit(main())

"""Measure hushar beside other servers, on one core, in one run, and hold it to its floors.

    python benchmark/run.py                        every section, about a quarter of an hour
    python benchmark/run.py throughput latency     only these; the results of the others stay
    python benchmark/run.py --quick                all of it in a fraction of the time, to see that it works
    python benchmark/run.py --write DIRECTORY      write the workloads' files, measure nothing

Servers run on one core and the load on another; those that are compared are started before the first round
and loaded in turns, so that what else happens on the machine happens to all of them. Writes results.md,
results.json and plots into benchmark/results/ (--output; with --quick into a folder that is named at the
end). See docs/benchmark.md.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hot_path
from bench import Bench, Section, say
from floors import floors
from machine import ROOT, commit, machine, today, versions
from plots import draw
from publish import RESULTS, publish
from report import markdown
from sections import latencies, log_costs, memory, pressure, row_costs, stages, start, throughput
from serve_and_load import (
    AIO,
    HUSHAR,
    LOGGING,
    PURERPC,
    REFERENCE,
    THREADS,
    TONIC,
    BenchmarkError,
    build_tonic,
    check_tools,
    load_from,
)
from workloads import WORKLOADS, make

LEFT_OUT = (PURERPC, THREADS, TONIC)
"""Servers that the sections can do without."""
QUICK = (0.3, 0.2, 1)
"""`--seconds`, `--warm-up`, `--rounds`."""


@dataclass(frozen=True, slots=True)
class Part:
    """A section: how much of `--seconds` a load of it takes, and how many rounds for each of `--rounds`."""

    measure: Callable[[Bench], Section]
    share: float = 1.0
    times: int = 1
    """More where a few calls, or a few percent, decide, and single rounds differ by as much."""


SECTIONS: Mapping[str, Part] = {
    "throughput": Part(throughput.measure_few),
    "connections": Part(throughput.measure_many),
    "logging": Part(log_costs.measure, times=2),
    "latency": Part(latencies.measure, 1.5, times=3),
    "one-at-a-time": Part(latencies.measure_one_at_a_time, 0.7),
    "rows": Part(row_costs.measure),
    "memory": Part(memory.measure),
    "start": Part(start.measure),
    "kernel-vs-reference": Part(stages.measure),
    "beside": Part(pressure.measure_beside, 1.5),
    "overload": Part(pressure.measure_overload, 1.5, times=2),
    "profile": Part(hot_path.measure, 2.0),
}


def main() -> int:
    """Run what the command line asks for. Status 2: something is missing or answers wrongly."""
    options = _options()
    if options.write is not None:
        for name in WORKLOADS:
            print(make(name).write(options.write / name))
        return 0
    # The load that is not h2load's is made by this process.
    load_from(options.load_core)
    output = options.output
    if output is None:
        output = Path(tempfile.mkdtemp(prefix="hushar-benchmark-")) if options.quick else RESULTS
    try:
        check_tools()
        names = _servers(options.without)
        for name in options.sections or SECTIONS:
            _measure(name, options, names, output)
    except (BenchmarkError, OSError, RuntimeError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    if options.publish:
        publish(json.loads((output / "results.json").read_text(encoding="utf-8")), ROOT)
    print(output / "results.md")
    return 0


def _servers(without: Sequence[str]) -> list[str]:
    """The servers that are to be measured, and can be here."""
    names = [HUSHAR, REFERENCE, LOGGING, AIO, *(name for name in LEFT_OUT if name not in without)]
    if TONIC in names and (missing := build_tonic()) is not None:
        say(missing)
        names.remove(TONIC)
    return names


def _measure(name: str, options: argparse.Namespace, names: Sequence[str], output: Path) -> None:
    """Measure a section and write all results again, this section's in the place of older ones."""
    part = SECTIONS[name]
    say(f"== {name}")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = Bench(
            options.seconds * part.share,
            options.rounds * part.times,
            options.server_core,
            options.load_core,
            names,
            Path(folder),
            options.warm_up,
        )
        figures = part.measure(bench)
    say(f"   {time.monotonic() - begun:.0f} s")
    load = {"seconds": bench.seconds, "rounds": bench.rounds}
    write(output, name, {"when": today(), "commit": commit(), "load": load, "figures": figures})


def write(output: Path, name: str, section: Mapping[str, Any]) -> None:
    """Write results.json, results.md and the plots, with this section's figures in place of older ones."""
    output.mkdir(parents=True, exist_ok=True)
    file = output / "results.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"sections": {}}
    sections = {
        key: section if key == name else before["sections"].get(key)
        for key in SECTIONS
        if key == name or key in before["sections"]
    }
    figures = {key: each["figures"] for key, each in sections.items()}
    found = {
        "machine": machine(),
        "versions": versions(),
        "floors": [line.document() for line in floors(figures)],
        "sections": sections,
    }
    file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    pictures = draw(figures, output)
    (output / "results.md").write_text(markdown(found, pictures), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    # Not `choices`: with `nargs="*"` argparse would check the empty list against them.
    add("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (all)")
    add("--seconds", type=float, default=2.0, help="of each load (%(default)s); some sections take more")
    add("--rounds", type=int, default=3, help="loads of each server (%(default)s)")
    add("--warm-up", type=float, default=0.7, help="seconds, before the first round (%(default)s)")
    add("--without", nargs="+", default=[], choices=LEFT_OUT, help="servers that are not measured")
    add("--quick", action="store_true", help="one round of short loads: figures mean nothing")
    add("--server-core", type=int, default=0, help="(%(default)s)")
    add("--load-core", type=int, default=1, help="(%(default)s)")
    add("--output", type=Path, metavar="DIRECTORY", help="for the results (benchmark/results)")
    add(
        "--folder",
        type=Path,
        metavar="DIRECTORY",
        help="on the disk that is logged to (the system's for temporary files)",
    )
    add("--publish", action="store_true", help="put the results into README.md and docs/performance.md")
    add("--write", type=Path, metavar="DIRECTORY", help="write the workloads' files there and stop")
    options = parser.parse_args()
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"unknown section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if options.quick:
        options.seconds, options.warm_up, options.rounds = QUICK
    if options.publish and (options.quick or options.output):
        parser.error("--publish publishes benchmark/results only")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())

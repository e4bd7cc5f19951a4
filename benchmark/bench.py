"""What every section of the benchmark starts from: a workload's files, servers in turns, rounds."""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from floors import neither_busy, share_if_waiting
from numpy.typing import NDArray
from serve_and_load import Load, Loaded, Running, check_answer, commands, expected_scores, load, running
from workloads import Workload

Section = dict[str, Any]
"""What a section has measured, as JSON has it."""

WARM_UP_SECONDS = 0.7
FEWEST_CALLS = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bench:
    """What the command line asks for, and where files go."""

    seconds: float
    """Of each load."""
    rounds: int
    server_core: int
    load_core: int
    names: Sequence[str]
    """The servers that can be measured here."""
    folder: Path
    """For files that are gone at the end."""
    warm_up: float = WARM_UP_SECONDS
    """Seconds of the uncounted load of each server before the first round."""

    def has(self, *names: str) -> list[str]:
        """Those of the servers that can be measured here."""
        return [name for name in names if name in self.names]

    @contextmanager
    def serving(
        self,
        workload: Workload,
        names: Sequence[str],
        *,
        log: Path | None = None,
        settings: Sequence[str] = (),
    ) -> Iterator["Serving"]:
        """Servers of a workload, all started before the first is loaded."""
        folder = self.folder / workload.name
        service = workload.write(folder)
        known = commands(service, log=log, settings=settings)
        with ExitStack() as stack:
            servers = [stack.enter_context(running(name, known[name], self.server_core)) for name in names]
            yield Serving(self, workload, folder / "request.grpc", expected_scores(workload), servers)


@dataclass(frozen=True, slots=True)
class Serving:
    """Servers that serve a workload."""

    bench: Bench
    workload: Workload
    request: Path
    """The request with gRPC's prefix, in a file."""
    expected: NDArray[np.float32]
    servers: Sequence[Running]

    def server(self, name: str) -> Running:
        """The server of that name."""
        return next(server for server in self.servers if server.name == name)

    def resized(self, workload: Workload) -> "Serving":
        """The same servers under another request that they can answer too."""
        folder = self.request.parent / f"{len(workload.matrix)}-rows"
        workload.write(folder)
        return replace(
            self, workload=workload, request=folder / "request.grpc", expected=expected_scores(workload)
        )

    def load(
        self, server: Running, seconds: float, connections: int, streams: int, *, calls: int = 0
    ) -> Loaded:
        """One load between two checks of a real answer."""
        size = check_answer(server, self.workload, self.expected)
        how = Load(seconds, connections, streams, self.bench.load_core, calls)
        found = load(server, self.request, size, how)
        if not found.calls:
            # A slow server, and little time: it gets as much as it needs for a few.
            calls = FEWEST_CALLS * connections * streams
            found = load(server, self.request, size, replace(how, calls=calls))
        check_answer(server, self.workload, self.expected)
        return found

    def in_turns(self, one: Callable[[Running, float], T]) -> dict[str, list[T]]:
        """Do `one` with each server in each round; a shorter round before the first is not counted."""
        found: dict[str, list[T]] = {server.name: [] for server in self.servers}
        for number in range(self.bench.rounds + 1):
            for server in self.servers:
                result = one(server, self.bench.seconds if number else self.bench.warm_up)
                if number:
                    found[server.name].append(result)
        return found

    def saturated(self, connections: int, streams: int) -> dict[str, list[Loaded]]:
        """Load each server in each round with as many calls as it can answer."""
        return self.in_turns(lambda server, seconds: self.load(server, seconds, connections, streams))


def columns(rounds: Sequence[Loaded]) -> dict[str, list[float]]:
    """Rounds as JSON: one list for each figure."""
    return {
        "rate": [round(each.rate, 1) for each in rounds],
        "cpu_us": [round(each.cpu_us, 3) for each in rounds],
        "generator": [round(each.generator, 3) for each in rounds],
    }


def say(text: str) -> None:
    """Show how far it has come."""
    print(text, file=sys.stderr, flush=True)


def say_rates(
    title: str, found: Mapping[str, Mapping[str, Sequence[float]]], *, saturated: bool = False
) -> None:
    """Show the medians of calls a second and of CPU time a call; of `saturated` servers also who waited."""
    say(title)
    for name, each in found.items():
        rate, cpu = statistics.median(each["rate"]), statistics.median(each["cpu_us"])
        share = share_if_waiting(each) if saturated else None
        waits = "" if share is None else f" ({neither_busy(share)})"
        say(f"  {name:20}{rate:12,.0f} calls/s {cpu:12,.2f} us of CPU a call{waits}")

"""Measure the transport beside other gRPC servers of Python, on one core, in one run.

    python benchmark/transport.py                       everything, about ten minutes
    python benchmark/transport.py echo idle             only these loads
    python benchmark/transport.py --seconds 1 --rounds 1 --idle 1000 --output /tmp/result

Servers run on one core and the load on another; all servers of a load are started before its first
round and loaded in turns, so that what else happens on the machine happens to all of them. Writes a
Markdown table, all figures as JSON and a plot. See docs/benchmark.md.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from processes import cpu_seconds, resident_bytes
from raw_client import MESSAGE, closed_loop, one_by_one, open_idle, plan_calls
from serve_and_load import (
    AIO,
    HUSHAR,
    PATH,
    PURERPC,
    SERVERS,
    THREADS,
    BenchmarkError,
    Load,
    Running,
    check_answer,
    check_tools,
    commands,
    expected_scores,
    load,
    load_from,
    running,
)
from transport_report import COUNTED, Figures, document, markdown, plot
from workloads import make

OURS_RAW, OURS, SERVE = "ours, raw", "ours", "hushar serve"
LOADS = ("echo", "w1", "latency", "headers", "idle")
WARM_UP_SECONDS = 1.0
WARM_UP_CALLS = 200
CALL_SECONDS = 10.0
HEADER_CALLS_A_SECOND = 30_000
"""So many calls with other headers are made for a second of `--seconds`; a matter of time only."""
SETTLE_SECONDS = 2.0


@dataclass
class Plan:
    """What the command line asks for, and what has been measured."""

    seconds: float
    rounds: int
    idle: int
    server_core: int
    load_core: int
    figures: Figures = field(default_factory=dict)

    def note(self, figure: str, server: str, value: float) -> None:
        """Keep one round's figure."""
        self.figures.setdefault(figure, {}).setdefault(server, []).append(value)

    def print(self, figure: str, unit: str) -> None:
        """Show the medians of a figure."""
        print(figure)
        for server, values in self.figures[figure].items():
            print(f"  {server:16}{statistics.median(values):14,.1f} {unit}", flush=True)


def main() -> int:
    """Run what the command line asks for. Status 2: something is missing or answers wrongly."""
    options = _options()
    plan = Plan(options.seconds, options.rounds, options.idle, options.server_core, options.load_core)
    # The load that is not h2load's is made by this process.
    load_from(options.load_core)
    measures: Mapping[str, Callable[[Plan], None]] = {
        "echo": measure_echo,
        "w1": measure_w1,
        "latency": measure_latency,
        "headers": measure_headers,
        "idle": measure_idle,
    }
    try:
        check_tools()
        for name in options.loads or LOADS:
            measures[name](plan)
    except (BenchmarkError, OSError, RuntimeError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    write(options.output, plan)
    return 0


def write(output: Path, plan: Plan) -> None:
    """OUTPUT.json, OUTPUT.md and OUTPUT.svg."""
    output.parent.mkdir(parents=True, exist_ok=True)
    found = document(plan.figures, seconds=plan.seconds, rounds=plan.rounds, idle=plan.idle)
    output.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    drawn = plot(found, output.with_suffix(".svg"))
    text = markdown(found, picture=output.with_suffix(".svg").name if drawn else None)
    output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(f"\n{text}")


def echo_commands(*names: str) -> dict[str, list[str]]:
    """Name → command line of the echo servers."""
    known = {
        OURS_RAW: ("echo_hushar.py", "--kind", "raw"),
        OURS: ("echo_hushar.py", "--kind", "ordinary"),
        PURERPC: ("echo_purerpc.py",),
        AIO: ("echo_grpcio.py", "--kind", "aio"),
        THREADS: ("echo_grpcio.py", "--kind", "threads"),
    }
    return {name: [sys.executable, str(SERVERS / known[name][0]), *known[name][1:]] for name in names}


def start(stack: ExitStack, plan: Plan, known: Mapping[str, Sequence[str]]) -> list[Running]:
    """Start all of these servers."""
    return [stack.enter_context(running(name, line, plan.server_core)) for name, line in known.items()]


def in_turns(
    plan: Plan, servers: Sequence[Running], one: Callable[[Running, float], float], figure: str
) -> None:
    """Load each server in each round; round 0 warms up and is not counted."""
    for number in range(plan.rounds + 1):
        for server in servers:
            before = cpu_seconds(server.pid)
            seconds = plan.seconds if number else WARM_UP_SECONDS
            value = one(server, seconds)
            spent = cpu_seconds(server.pid) - before
            if number:
                plan.note(figure, server.name, value)
                if figure in COUNTED:
                    # Of use where the machine has other work too.
                    plan.note(f"{figure}, CPU", server.name, spent / (value * seconds) * 1e6)


def check_echo(server: Running) -> int:
    """One real call; the bytes of its answer. Raises BenchmarkError for a wrong one."""
    message = MESSAGE[5:]
    with grpc.insecure_channel(server.address) as channel:
        try:
            answer = channel.unary_unary(PATH)(message, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise BenchmarkError(f"{server.name} answered {error.code().name}: {error.details()}") from error
    if answer != message:
        raise BenchmarkError(f"{server.name} does not answer what it was sent")
    return len(message)


def measure_echo(plan: Plan) -> None:
    """The transport alone: calls per second of an echo."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        request = Path(directory, "request.grpc")
        request.write_bytes(MESSAGE)
        servers = start(stack, plan, echo_commands(OURS_RAW, OURS, PURERPC, AIO, THREADS))
        for connections, streams in ((4, 25), (100, 1)):

            def one(server: Running, seconds: float, c: int = connections, s: int = streams) -> float:
                size = check_echo(server)
                return load(server, request, size, Load(seconds, c, s, plan.load_core)).rate

            figure = f"echo {connections}x{streams}"
            in_turns(plan, servers, one, figure)
            plan.print(figure, "calls/s")


def measure_w1(plan: Plan) -> None:
    """The whole server: `hushar serve` and the plain way to write it by hand, workload W1."""
    workload = make("W1")
    expected = expected_scores(workload)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        known = commands(workload.write(Path(directory)))
        request = Path(directory, "request.grpc")
        servers = start(stack, plan, {SERVE: known[HUSHAR], PURERPC: known[PURERPC], AIO: known[AIO]})
        for connections, streams in ((4, 25), (100, 1)):

            def one(server: Running, seconds: float, c: int = connections, s: int = streams) -> float:
                size = check_answer(server, workload, expected)
                return load(server, request, size, Load(seconds, c, s, plan.load_core)).rate

            figure = f"W1 {connections}x{streams}"
            in_turns(plan, servers, one, figure)
            plan.print(figure, "calls/s")


def measure_latency(plan: Plan) -> None:
    """One call at a time on one connection: the median of a call, in microseconds, by two clients."""

    def by_grpcio(server: Running, seconds: float) -> float:
        taken = []
        with grpc.insecure_channel(server.address) as channel:
            call = channel.unary_unary(PATH)
            for _ in range(WARM_UP_CALLS):
                call(MESSAGE[5:], timeout=CALL_SECONDS)
            end = time.perf_counter() + seconds
            while (begun := time.perf_counter()) < end:
                call(MESSAGE[5:], timeout=CALL_SECONDS)
                taken.append(time.perf_counter() - begun)
        return statistics.median(taken) * 1e6

    def by_socket(server: Running, seconds: float) -> float:
        return statistics.median(one_by_one(server.address, PATH, seconds)) * 1e6

    with ExitStack() as stack:
        servers = start(stack, plan, echo_commands(OURS_RAW, OURS, PURERPC, AIO, THREADS))
        in_turns(plan, servers, by_socket, "latency")
        in_turns(plan, servers, by_grpcio, "latency, grpcio")
    plan.print("latency", "us")
    plan.print("latency, grpcio", "us")


def measure_headers(plan: Plan) -> None:
    """The same headers on every call, and others on every call: calls a second of the server's CPU time."""
    calls = int(plan.seconds * HEADER_CALLS_A_SECOND)
    with ExitStack() as stack:
        (server,) = start(stack, plan, echo_commands(OURS_RAW))
        planned = {
            kind: plan_calls(server.address, PATH, varied=varied, connections=4, calls=calls)
            for kind, varied in (("same headers", False), ("other headers", True))
        }
        for number in range(plan.rounds + 1):
            for kind, of_connections in planned.items():
                before = cpu_seconds(server.pid)
                answered, _ = closed_loop(server.address, of_connections, streams=25)
                spent = cpu_seconds(server.pid) - before
                if number:
                    plan.note("headers", kind, answered / spent)
    plan.print("headers", "calls/CPU s")


def measure_idle(plan: Plan) -> None:
    """Thousands of connections that have had a call: memory of each, and CPU time of all in a second."""
    for name, command in echo_commands(OURS_RAW, OURS, PURERPC, AIO).items():
        with ExitStack() as stack:
            (server,) = start(stack, plan, {name: command})
            check_echo(server)
            before = resident_bytes(server.pid)
            for sock in open_idle(server.address, PATH, plan.idle):
                stack.callback(sock.close)
            time.sleep(SETTLE_SECONDS)
            plan.note("idle memory", name, (resident_bytes(server.pid) - before) / plan.idle / 1000)
            used = cpu_seconds(server.pid)
            begun = time.perf_counter()
            time.sleep(max(plan.seconds, 5.0))
            plan.note("idle CPU", name, (cpu_seconds(server.pid) - used) / (time.perf_counter() - begun))
            check_echo(server)
    plan.print("idle memory", "KB/connection")
    plan.print("idle CPU", "CPU s/s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("loads", nargs="*", metavar="LOAD", help=f"of {', '.join(LOADS)} (all)")
    add("--seconds", type=float, default=5.0, help="of each load (%(default)s)")
    add("--rounds", type=int, default=3, help="loads of each server (%(default)s)")
    add("--idle", type=int, default=10_000, help="idle connections (%(default)s)")
    add("--server-core", type=int, default=0, help="(%(default)s)")
    add("--load-core", type=int, default=1, help="(%(default)s)")
    results = Path(__file__).resolve().parent / "results" / "transport"
    add(
        "--output",
        type=Path,
        default=results,
        metavar="FILE",
        help="FILE.md, .json and .svg (results/transport)",
    )
    options = parser.parse_args()
    unknown = [name for name in options.loads if name not in LOADS]
    if unknown:
        parser.error(f"unknown load {', '.join(unknown)}; there are {', '.join(LOADS)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())

"""Start servers on one core, load them from another, count what they answer and what it costs them.

h2load only looks at HTTP, where a failed call has status 200 as well. So a real answer is compared
with the right scores before and after each load (grpcio), and h2load's count of bytes must be that of
whole answers.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import grpc
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from processes import children_seconds, cpu_seconds
from workloads import Workload

from hushar.proto.structs_pb2 import InferenceResponse
from hushar.scheduling import ask_for_short_slices

PATH = "/hushar.Hushar/InferenceService"
HERE = Path(__file__).resolve().parent
SERVERS = HERE / "servers"

HUSHAR, REFERENCE, LOGGING = "hushar", "hushar (reference)", "hushar, logging all"
PURERPC, AIO, THREADS, TONIC = "purerpc", "grpc.aio", "grpcio threads", "tonic"

START_SECONDS = 60.0
STOP_SECONDS = 60.0
CALL_SECONDS = 30.0
POLL_SECONDS = 0.02
BUILD_SECONDS = 1200.0
FRAME_PREFIX_BYTES = 5
WHOLE_ANSWERS = 0.999
"""Calls under way when the time is over are not counted, but some of their bytes may be missing."""
LARGE_MESSAGES = "server.max_receive_bytes=67108864"
"""A setting of hushar with which calls of 10,000 rows are taken; the other servers are set so anyway."""

_LISTENING = re.compile(r"listening on (\S+:\d+)")
_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s|m), ([\d.]+) req/s")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_REQUESTS = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_DATA = re.compile(r"\((\d+)\) data")


class BenchmarkError(Exception):
    """Something is missing, did not start, or gave a wrong answer. `str()` says what, for a person."""


@dataclass(frozen=True, slots=True)
class Load:
    """How a server is loaded: for some `seconds`, or with so many `calls` where these are given."""

    seconds: float
    connections: int
    streams: int
    """Calls in flight on each connection."""
    core: int
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a load."""

    calls: int
    """Answered."""
    rate: float
    """Calls a second; 0 if time was too short for one."""
    cpu_us: float
    """The server's CPU time a call."""
    generator: float
    """Of the load generator's core, how much it used: near 1 it was the limit, not the server."""

    @property
    def wall_us(self) -> float:
        """Time a call, where one call is made at a time."""
        return 1e6 / self.rate


@dataclass(slots=True)
class Running:
    """A server that listens."""

    name: str
    address: str
    process: subprocess.Popen[bytes]
    _output: IO[str] = field(repr=False)

    @property
    def pid(self) -> int:
        """Of the server itself: what starts it has become it."""
        return self.process.pid

    def stop(self) -> str:
        """End the server as an operator would; returns all that it has said on stderr."""
        _stop(self.process)
        self._output.seek(0)
        return self._output.read()


def commands(service: Path, *, log: Path | None = None, settings: Sequence[str] = ()) -> dict[str, list[str]]:
    """Name → command line of every server that can be measured.

    `log`: where LOGGING logs. `settings`: `section.key=value` of hushar that are not its defaults.
    """
    python = sys.executable
    serve = [python, "-m", "hushar", "serve", str(service), "--port", "0"]
    for setting in settings:
        serve += ["--set", setting]

    def beside(script: str) -> list[str]:
        return [python, str(SERVERS / script), str(service), "--port", "0"]

    known = {
        HUSHAR: serve,
        REFERENCE: ["env", "HUSHAR_KERNEL=reference", *serve],
        PURERPC: beside("purerpc_server.py"),
        AIO: beside("grpc_aio_server.py"),
        THREADS: beside("grpcio_threads_server.py"),
    }
    if log is not None:
        known[LOGGING] = [*serve, "--log-uri", str(log)]
    if (program := tonic_program()).exists():
        known[TONIC] = ["env", f"ORT_DYLIB_PATH={_onnxruntime_library()}", str(program), str(service)]
    return known


def load_from(core: int) -> None:
    """Have this process make its load from one core, and on time whatever else happens there."""
    os.sched_setaffinity(0, {core})
    ask_for_short_slices()


def tonic_program() -> Path:
    """Where the tonic server is once it has been built."""
    target = os.environ.get("CARGO_TARGET_DIR", HERE.parent / ".venv" / "cargo")
    return Path(target) / "release" / "tonic-onnx"


def build_tonic() -> str | None:
    """Build the tonic server where cargo is; otherwise why there is none, in a sentence."""
    if shutil.which("cargo") is None:
        return "no tonic server: Rust's cargo is not installed"
    if _onnxruntime_library() is None:
        return "no tonic server: Python's onnxruntime has no shared library here"
    program = tonic_program()
    command = ["cargo", "build", "--quiet", "--release", "--target-dir", str(program.parent.parent)]
    try:
        subprocess.run(
            command,
            cwd=SERVERS / "tonic_onnx",
            capture_output=True,
            text=True,
            check=True,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no tonic server: cargo build took more than {BUILD_SECONDS:g} s"
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "it says nothing").splitlines()[-1]
        return f"no tonic server: cargo build failed: {last}"
    return None


def _onnxruntime_library() -> Path | None:
    """The shared library in Python's onnxruntime: every server runs the same one."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    return next(iter(sorted(folder.glob("libonnxruntime.so.*"))), None)


def check_tools() -> None:
    """Raise BenchmarkError if a program is missing, with the way to get it."""
    for tool, package in (("taskset", "util-linux"), ("h2load", "nghttp2-client")):
        if shutil.which(tool) is None:
            raise BenchmarkError(f"{tool} is not installed; on Debian and Ubuntu: apt-get install {package}")


@contextmanager
def running(name: str, command: Sequence[str], core: int) -> Iterator[Running]:
    """Run a server pinned to one core; it is stopped at the end, whatever happened in between."""
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
        try:
            yield Running(name, _address(name, process, output), process, output)
        finally:
            _stop(process)


def _address(name: str, process: subprocess.Popen[bytes], output: IO[str]) -> str:
    """Where the server listens, from the line that it prints when it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        status = process.poll()
        # The file is the server's: reading moves the position that both share, back to the end.
        output.seek(0)
        text = output.read()
        found = _LISTENING.search(text)
        if found:
            return found[1]
        if status is not None:
            raise BenchmarkError(f"{name} ended with status {status} before it was ready:\n{text}")
        time.sleep(POLL_SECONDS)
    raise BenchmarkError(f"{name} was not ready within {START_SECONDS:g} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def expected_scores(workload: Workload) -> NDArray[np.float32]:
    """What onnxruntime makes of the workload's own matrix: `(rows, scores)`."""
    session = onnxruntime.InferenceSession(workload.model, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {session.get_inputs()[0].name: workload.matrix})
    return np.asarray(scores, np.float32)


def check_answer(server: Running, workload: Workload, expected: NDArray[np.float32]) -> int:
    """Call the server once; returns the bytes of its answer. Raises BenchmarkError for a wrong one."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.address, options) as channel:
        call = channel.unary_unary(PATH)
        try:
            answer: bytes = call(workload.request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise BenchmarkError(f"{server.name} answered {error.code().name}: {error.details()}") from error
    rows = InferenceResponse.FromString(answer).outputs
    scores = np.array([row.scores for row in rows], np.float32)
    if scores.shape != expected.shape or not np.allclose(scores, expected, rtol=1e-4, atol=1e-5):
        raise BenchmarkError(f"{server.name} gave other scores than onnxruntime by itself")
    return len(answer)


def load(server: Running, request: Path, answer_bytes: int, how: Load) -> Loaded:
    """Load a server with h2load. Raises BenchmarkError if a call failed."""
    amount = ("--requests", str(how.calls)) if how.calls else ("--duration", f"{how.seconds * 1000:.0f}ms")
    command = [
        *("taskset", "--cpu-list", str(how.core), "h2load", *amount, "--clients", str(how.connections)),
        *("--max-concurrent-streams", str(how.streams), "--data", str(request)),
        *("--header", "content-type: application/grpc", "--header", "te: trailers"),
        f"http://{server.address}{PATH}",
    ]
    before, generator = cpu_seconds(server.pid), children_seconds()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    spent, generator = cpu_seconds(server.pid) - before, children_seconds() - generator
    finished, requests, data = (each.search(result.stdout) for each in (_FINISHED, _REQUESTS, _DATA))
    if result.returncode or not (finished and requests and data):
        raise BenchmarkError(f"h2load failed on {server.name}:\n{result.stdout}{result.stderr}")
    succeeded, *unsuccessful = map(int, requests.groups())
    whole = succeeded * (answer_bytes + FRAME_PREFIX_BYTES)
    if any(unsuccessful) or int(data[1]) < whole * WHOLE_ANSWERS:
        raise BenchmarkError(f"{server.name} did not answer every call in full:\n{result.stdout}")
    seconds = float(finished[1]) * _UNITS[finished[2]]
    rate = float(finished[3])
    return Loaded(succeeded, rate, spent / max(succeeded, 1) * 1e6, min(1.0, generator / seconds))


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    """What a hushar server has said on stderr about itself, summed up over its intervals."""

    means: Mapping[str, float]
    """By the name of a distribution."""
    counters: Mapping[tuple[str, str], float]
    """By name and label, which is empty where there is none."""

    def count(self, name: str, label: str | None = None) -> float:
        """A counter; without a label, the sum over all of them."""
        return sum(
            value
            for (of, labelled), value in self.counters.items()
            if of == name and label in (None, labelled)
        )


def server_metrics(said: str) -> ServerMetrics:
    """Read the metrics from what a server has printed (docs/metrics.md, "On stderr")."""
    sums: dict[str, list[float]] = {}
    counters: dict[tuple[str, str], float] = {}
    for line in said.splitlines():
        if not line.startswith('{"metrics"'):
            continue
        interval = json.loads(line)
        for name, found in interval["distributions"].items():
            total = sums.setdefault(name, [0.0, 0.0])
            total[0] += found["mean"] * found["count"]
            total[1] += found["count"]
        for name, value in interval["counters"].items():
            for label, added in value.items() if isinstance(value, dict) else (("", value),):
                counters[name, label] = counters.get((name, label), 0.0) + added
    return ServerMetrics({name: total / count for name, (total, count) in sums.items()}, counters)

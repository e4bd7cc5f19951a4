"""Start servers on one core, load them from another, count what they answer.

h2load only looks at HTTP, where a failed call has status 200 as well. So a real answer is compared
with the right scores before and after each load (grpcio), and h2load's count of bytes must be that of
whole answers.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import grpc
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from workloads import Workload

from hushar.proto.structs_pb2 import InferenceResponse

PATH = "/hushar.Hushar/InferenceService"
SERVERS = Path(__file__).resolve().parent / "servers"

START_SECONDS = 60.0
STOP_SECONDS = 20.0
CALL_SECONDS = 10.0
POLL_SECONDS = 0.05
FRAME_PREFIX_BYTES = 5
WHOLE_ANSWERS = 0.999
"""Calls under way when the time is over are not counted, but some of their bytes may be missing."""

_LISTENING = re.compile(r"listening on (\S+:\d+)")
_RATE = re.compile(r"finished in [\d.]+\w*, ([\d.]+) req/s")
_REQUESTS = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_DATA = re.compile(r"\((\d+)\) data")


class BenchmarkError(Exception):
    """Something is missing, did not start, or gave a wrong answer. `str()` says what, for a person."""


@dataclass(frozen=True, slots=True)
class Load:
    """How a server is loaded."""

    seconds: float
    connections: int
    streams: int
    """Calls in flight on each connection."""
    core: int


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens."""

    name: str
    address: str
    pid: int


def commands(service: Path) -> dict[str, list[str]]:
    """Name → command line of every server that can be measured."""
    python = sys.executable
    return {
        "hushar": [python, "-m", "hushar", "serve", str(service), "--port", "0"],
        "purerpc": [python, str(SERVERS / "purerpc_server.py"), str(service), "--port", "0"],
        "grpc.aio": [python, str(SERVERS / "grpc_aio_server.py"), str(service), "--port", "0"],
    }


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
            yield Running(name, _address(name, process, output), process.pid)
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
    with grpc.insecure_channel(server.address) as channel:
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


def load(server: Running, request: Path, answer_bytes: int, how: Load) -> float:
    """Load a server with h2load; returns calls answered per second, 0 if time was too short for one.

    Raises BenchmarkError if a call failed.
    """
    result = subprocess.run(
        [
            *("taskset", "--cpu-list", str(how.core), "h2load"),
            *("--duration", f"{how.seconds:g}", "--clients", str(how.connections)),
            *("--max-concurrent-streams", str(how.streams), "--data", str(request)),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            f"http://{server.address}{PATH}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    rate, requests, data = (each.search(result.stdout) for each in (_RATE, _REQUESTS, _DATA))
    if result.returncode or not (rate and requests and data):
        raise BenchmarkError(f"h2load failed on {server.name}:\n{result.stdout}{result.stderr}")
    succeeded, *unsuccessful = map(int, requests.groups())
    whole = succeeded * (answer_bytes + FRAME_PREFIX_BYTES)
    if any(unsuccessful) or int(data[1]) < whole * WHOLE_ANSWERS:
        raise BenchmarkError(f"{server.name} did not answer every call in full:\n{result.stdout}")
    return float(rate[1])

"""From exec to the first right answer."""

import os
import socket
import subprocess
import time

import grpc
from bench import Bench, Section, say
from serve_and_load import AIO, HUSHAR, PATH, START_SECONDS, TONIC, BenchmarkError, commands
from workloads import Workload, make

STARTS = 5
RETRY_SECONDS = 0.002


def measure(bench: Bench) -> Section:
    """W1's small model, several times; the first start only warms the disk."""
    workload = make("W1")
    service = workload.write(bench.folder / "start")
    known = commands(service)
    section: Section = {}
    for name in bench.has(HUSHAR, TONIC, AIO):
        taken = [_start(bench, known[name], workload) for _ in range(STARTS + 1)][1:]
        section[name] = [round(seconds, 3) for seconds in taken]
        say(f"{name}: first answer after {min(taken):.2f} s")
    return section


def _start(bench: Bench, command: list[str], workload: Workload) -> float:
    """Seconds from exec to an answer, by a client that tries until it has one."""
    if "--port" in command:
        port = _free_port()
        at = command.index("--port") + 1
        command = [*command[:at], str(port), *command[at + 1 :]]
    # An installed package has its bytecode; a checkout is given it by the first start.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    begun = time.perf_counter()
    process = subprocess.Popen(
        ["taskset", "--cpu-list", str(bench.server_core), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        if "--port" not in command:
            port = _told_port(process)
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() - begun > START_SECONDS:
                raise BenchmarkError("the server did not start")
            time.sleep(RETRY_SECONDS)
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            channel.unary_unary(PATH)(workload.request, timeout=START_SECONDS)
        return time.perf_counter() - begun
    finally:
        process.kill()
        process.communicate()


def _told_port(process: subprocess.Popen[str]) -> int:
    """From the line that tells it."""
    assert process.stderr is not None
    for line in process.stderr:
        if "listening on" in line:
            return int(line.rpartition(":")[2])
    raise BenchmarkError("the server did not start")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), START_SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port

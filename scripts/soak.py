#!/usr/bin/env python3
"""Mixed load against a server for a long time, and whether its memory stays where it is.

    python scripts/soak.py --seconds 1800                   a server with echo services
    python scripts/soak.py --seconds 1800 --target serve    hushar serve --demo

The load is a process for each kind of client: grpcio's calls, frames by hand, streams in both directions,
calls that are cancelled, calls whose deadline passes, connections that come and go (some of them cut off,
some that say nothing), and hushar's own channel. The server ends every connection after some seconds
(`max_connection_age_seconds`), so all of them also obey GOAWAYs. No call may fail that has no reason to.

Once a second the server's resident memory, descriptors and tasks are read, and the calls counted. At the
end the memory's growth after a warm-up is a slope in bytes a call. Flat is: not above `--bytes-a-call`,
beside an allowance for what an allocator does with its pages; and descriptors and tasks are back to what
they were before the load. Exit status 0, or 1 with the reasons. All of it is on 127.0.0.1, and what was
started is ended.
"""

# ruff: noqa: PLC0415 - each process of it imports what it needs
import argparse
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

MIB: Final = 1024 * 1024
PATIENCE_SECONDS: Final = 30.0
"""Bounds every wait for what should happen soon."""
WARM_UP: Final = 0.25
"""Of the time: until every path has been taken, and pools and caches are as large as they get."""
SETTLE_SECONDS: Final = 15.0
"""After the load, until descriptors and tasks are back: a drained connection may take some."""
AGE_SECONDS: Final = 3
DEMO_ROW: Final = {"row_id": "r", "features": {"island": {"string_value": "Biscoe"}}}

Call = Callable[[], int]
"""Makes some calls, and returns how many."""


# The server


class Raw:
    """A message that is its bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def ParseFromString(self, data: bytes) -> None:  # noqa: D102, N802
        self.data = data

    def SerializeToString(self) -> bytes:  # noqa: D102, N802
        return self.data


def serve_echo() -> None:
    """The server with echo services: raw, unary, streaming, and one that waits. Until it is killed."""
    import purerpc
    import trio

    from hushar.rpc import Server

    async def unary(message: Raw) -> Raw:
        return message

    async def stream(messages: Any) -> Any:
        async for message in messages:
            yield message

    async def wait(message: Raw) -> Raw:
        await trio.sleep_forever()
        return message

    def echo(calls: Sequence[Any]) -> None:
        for call in calls:
            call.reply(call.message)

    def tasks(calls: Sequence[Any]) -> None:
        for call in calls:
            call.reply(b"%d" % trio.lowlevel.current_statistics().tasks_living)

    async def main() -> None:
        one = purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, Raw, Raw)
        both = purerpc.RPCSignature(purerpc.Cardinality.STREAM_STREAM, Raw, Raw)
        service = purerpc.Service("soak.Ordinary")
        service.add_method("Echo", unary, one)
        service.add_method("Wait", wait, one)
        service.add_method("Stream", stream, both)
        server = Server(0, handshake_seconds=2, max_connection_age_seconds=AGE_SECONDS)
        server.add_service(service)
        server.add_raw_unary("/soak.Raw/Echo", echo)
        server.add_raw_unary("/soak.Raw/Tasks", tasks)
        async with trio.open_nursery() as nursery:
            port = await nursery.start(server.serve_async)
            print(f"listening on 127.0.0.1:{port}", file=sys.stderr, flush=True)

    trio.run(main)


# What the clients call


@dataclass(frozen=True)
class Target:
    """The methods of a server that the load uses."""

    port: int
    unary: tuple[str, ...]
    message: bytes
    stream: str
    stream_message: bytes
    stream_answers: bool
    """Whether the stream method answers each message with one."""
    wait: str | None
    """A method whose answer never comes."""
    rate: float

    @property
    def address(self) -> str:
        """For grpcio."""
        return f"127.0.0.1:{self.port}"


def echo_target(port: int, rate: float) -> Target:
    """The methods of `serve_echo`."""
    unary = ("/soak.Raw/Echo", "/soak.Ordinary/Echo")
    return Target(
        port,
        unary,
        b"0123456789" * 30,
        "/soak.Ordinary/Stream",
        b"x" * 500,
        True,
        "/soak.Ordinary/Wait",
        rate,
    )


def demo_target(port: int, rate: float) -> Target:
    """Those of `hushar serve --demo`. Health's Watch takes one message and never ends."""
    from google.protobuf import json_format

    from hushar.proto import structs_pb2

    asked = {"request_id": "soak", "inputs": [DEMO_ROW]}
    return Target(
        port=port,
        unary=("/hushar.Hushar/InferenceService",),
        message=json_format.ParseDict(asked, structs_pb2.InferenceRequest()).SerializeToString(),
        stream="/grpc.health.v1.Health/Watch",
        stream_message=b"",
        stream_answers=False,
        wait=None,
        rate=rate,
    )


# The clients: each a generator of calls, in a process of its own


def stock_calls(target: Target) -> Iterator[Call]:
    """grpcio, one channel."""
    import grpc

    with grpc.insecure_channel(target.address) as channel:
        methods = itertools.cycle([channel.unary_unary(path) for path in target.unary])

        def call() -> int:
            next(methods)(target.message, timeout=PATIENCE_SECONDS)
            return 1

        while True:
            yield call


def stock_streams(target: Target) -> Iterator[Call]:
    """grpcio, streams: of 20 messages and as many answers; or one that is read once and given up."""
    import grpc

    with grpc.insecure_channel(target.address) as channel:
        both = channel.stream_stream(target.stream)
        answers = channel.unary_stream(target.stream)

        def echoed() -> int:
            count = sum(1 for _ in both(iter([target.stream_message] * 20), timeout=PATIENCE_SECONDS))
            if count != 20:
                raise AssertionError(f"{count} answers for 20 messages")
            return 1

        def watched() -> int:
            watching = answers(target.stream_message, timeout=PATIENCE_SECONDS)
            next(watching)
            watching.cancel()
            return 1

        while True:
            yield echoed if target.stream_answers else watched


def cancelled_calls(target: Target) -> Iterator[Call]:
    """grpcio, calls that are given up: at once, a moment later, or with half of the request sent."""
    import grpc

    with grpc.insecure_channel(target.address) as channel:
        method = channel.unary_unary(target.wait or target.unary[0])
        stream = channel.stream_stream(target.stream)

        def call(number: int) -> int:
            if number % 3 == 2 and target.stream_answers:
                more = threading.Event()
                streaming = stream(_until(more, target.stream_message), timeout=PATIENCE_SECONDS)
                next(streaming)
                streaming.cancel()
                more.set()
                return 1
            future = method.future(target.message, timeout=PATIENCE_SECONDS)
            time.sleep(0.002 * (number % 3))
            future.cancel()
            return 1

        for number in itertools.count():
            yield lambda number=number: call(number)


def _until(stop: threading.Event, message: bytes) -> Iterator[bytes]:
    yield message
    stop.wait(PATIENCE_SECONDS)


def late_calls(target: Target) -> Iterator[Call]:
    """grpcio, calls whose deadline passes: in the handler where one waits, and one that is over before."""
    import grpc

    with grpc.insecure_channel(target.address) as channel:
        method = channel.unary_unary(target.wait or target.unary[0])

        def call(number: int) -> int:
            try:
                method(target.message, timeout=0.001 + 0.005 * (number % 4))
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise
            else:
                if target.wait is not None:
                    raise AssertionError("an answer that never comes has come")
            return 1

        for number in itertools.count():
            yield lambda number=number: call(number)


class ByHand:
    """HTTP/2 by hand: a few calls at once on one connection, a new one after each GOAWAY."""

    def __init__(self, target: Target) -> None:
        import hpack

        from hushar.rpc import frames as fr

        self.fr = fr
        self.target = target
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", target.unary[0]),
            (":authority", "soak"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        # Nothing of it enters the table, so that one block is good for every call.
        self.block = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*each) for each in fields])
        self.data = b"\0" + len(target.message).to_bytes(4, "big") + target.message
        self.sock: socket.socket | None = None

    def connect(self) -> socket.socket:
        """A connection that has greeted."""
        sock = socket.create_connection(("127.0.0.1", self.target.port), timeout=PATIENCE_SECONDS)
        sock.sendall(self.fr.PREFACE + self.fr.settings([]) + self.fr.SETTINGS_ACK)
        self.stream_id = 1
        self.received = bytearray()
        self.leaving = False
        return sock

    def close(self, *, cut: bool = False) -> None:
        """`cut`: by a reset instead of an orderly end."""
        if self.sock is not None:
            if cut:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()
            self.sock = None

    def calls(self, number: int) -> int:
        """So many at once, each answered with what it sent."""
        fr = self.fr
        if self.sock is None:
            self.sock = self.connect()
        ids = [self.stream_id + 2 * each for each in range(number)]
        self.stream_id = ids[-1] + 2
        out = []
        for stream_id in ids:
            out.append(fr.frame(fr.HEADERS, fr.END_HEADERS, stream_id, self.block))
            out.append(fr.frame(fr.DATA, fr.END_STREAM, stream_id, self.data))
        self.sock.sendall(b"".join(out))
        ended: set[int] = set()
        answered = 0
        while len(ended) < number:
            kind, flags, stream_id, payload = self.frame()
            if kind == fr.DATA:
                answered += len(payload) > 0
                self.sock.sendall(fr.window_update(0, max(1, len(payload))))
            if kind == fr.PING and not flags & fr.ACK:
                self.sock.sendall(fr.ping(payload, ack=True))
            if kind == fr.GOAWAY:
                self.leaving = True
                if fr.word(payload, 4):
                    raise AssertionError(f"GOAWAY with error {fr.word(payload, 4)} {payload[8:]!r}")
                if fr.word(payload) < ids[-1]:
                    # They are above what the server still serves: they are made again.
                    self.close()
                    return self.calls(number)
            if kind == fr.RST_STREAM:
                raise AssertionError(f"RST_STREAM {fr.word(payload)}")
            if flags & fr.END_STREAM and kind in (fr.HEADERS, fr.DATA):
                ended.add(stream_id)
        if answered < number:
            raise AssertionError(f"{answered} answers for {number} calls")
        if self.leaving:
            self.close()
        return number

    def frame(self) -> tuple[int, int, int, bytes]:
        """The next one: type, flags, stream, payload."""
        fr = self.fr
        assert self.sock is not None
        while True:
            if len(self.received) >= fr.HEADER_BYTES:
                head, flags, stream_id = fr.HEADER.unpack_from(self.received)
                stop = fr.HEADER_BYTES + (head >> 8)
                if len(self.received) >= stop:
                    payload = bytes(self.received[fr.HEADER_BYTES : stop])
                    del self.received[:stop]
                    return head & 0xFF, flags, stream_id, payload
            data = self.sock.recv(65536)
            if not data:
                raise AssertionError("closed by the server with calls under way")
            self.received += data


def calls_by_hand(target: Target) -> Iterator[Call]:
    """Frames by hand, 20 calls at once."""
    client = ByHand(target)
    while True:
        yield lambda: client.calls(20)


def connections_that_come_and_go(target: Target) -> Iterator[Call]:
    """A connection for one call, ended in order or cut off; one that says nothing; half a preface."""
    client = ByHand(target)

    def call(number: int) -> int:
        if number % 5 == 3:
            with socket.create_connection(("127.0.0.1", target.port)) as sock:
                sock.sendall(client.fr.PREFACE[: number % 24])
            return 0
        client.calls(1)
        client.close(cut=number % 5 == 1)
        return 1

    for number in itertools.count():
        yield lambda number=number: call(number)


def own_channel(target: Target) -> Iterator[Call]:
    """hushar.rpc.Channel, ten calls at once; its loop in a thread that ends with the process."""
    import trio

    from hushar.rpc import Channel

    begun = threading.Event()
    held: list[Any] = []

    async def run() -> None:
        async with Channel("127.0.0.1", target.port) as channel:
            held[:] = [trio.lowlevel.current_trio_token(), channel]
            begun.set()
            await trio.sleep_forever()

    async def ten(channel: Channel) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(channel.unary, target.unary[number % len(target.unary)], target.message)

    def call() -> int:
        token, channel = held
        trio.from_thread.run(ten, channel, trio_token=token)
        return 10

    threading.Thread(target=trio.run, args=(run,), daemon=True).start()
    if not begun.wait(PATIENCE_SECONDS):
        raise AssertionError("no connection")
    while True:
        yield call


CLIENTS: Final[dict[str, tuple[Callable[[Target], Iterator[Call]], float]]] = {
    "grpcio": (stock_calls, 1.0),
    "frames": (calls_by_hand, 0.25),
    "streams": (stock_streams, 0.1),
    "cancellations": (cancelled_calls, 0.3),
    "deadlines": (late_calls, 0.3),
    "connections": (connections_that_come_and_go, 0.2),
    "channel": (own_channel, 0.25),
}
"""What each does, and how many rounds of it as a part of `--rate`."""


def run_client(name: str, target: Target) -> None:
    """Make calls until SIGTERM; once a second, and at the end, a line of JSON with the counts."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    make, share = CLIENTS[name]
    calls, failures, failed = 0, 0, ""
    said = due = time.monotonic()

    def say() -> None:
        print(json.dumps({"calls": calls, "failures": failures, "failed": failed}), flush=True)

    for call in make(target):
        if stopping.is_set():
            break
        try:
            calls += call()
        except Exception as error:
            failures += 1
            failed = failed or f"{type(error).__name__}: {error}"[:500]
            time.sleep(0.1)
        now = time.monotonic()
        if now - said > 1:
            said = now
            say()
        due = max(due + 1 / (target.rate * share), now - 1)
        stopping.wait(max(0.0, due - now))
    say()


# The measurement


@dataclass
class Sample:
    """The server at one moment."""

    seconds: float
    calls: int
    resident: int
    descriptors: int
    tasks: int


@dataclass
class Client:
    """A process that makes calls, and what it last said of them."""

    name: str
    process: "subprocess.Popen[str]"
    said: dict[str, Any] = field(default_factory=lambda: {"calls": 0, "failures": 0, "failed": ""})

    def read(self) -> None:
        """Until it ends; in a thread."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said = json.loads(line)


def slope(samples: Sequence[Sample]) -> float:
    """Bytes of resident memory a call, by least squares; 0 where no call was made."""
    number = len(samples)
    if not number:
        return 0.0
    mean_calls = sum(each.calls for each in samples) / number
    mean_bytes = sum(each.resident for each in samples) / number
    spread = sum((each.calls - mean_calls) ** 2 for each in samples)
    if not spread:
        return 0.0
    return sum((each.calls - mean_calls) * (each.resident - mean_bytes) for each in samples) / spread


def verdict(
    samples: Sequence[Sample], idle: Sample, after: Sample, *, bytes_a_call: float, allowance: int
) -> list[str]:
    """What is wrong with the server's memory, descriptors and tasks; nothing if all is well.

    `samples` are those after the warm-up, `idle` was taken before the load and `after` once it had ended.
    """
    wrong = []
    calls = samples[-1].calls - samples[0].calls if samples else 0
    if not calls:
        return ["no call was made"]
    each = slope(samples)
    if each * calls > bytes_a_call * calls + allowance:
        wrong.append(f"memory grows: {each:.2f} bytes a call, {each * calls / MIB:.1f} MiB in {calls} calls")
    if after.descriptors > idle.descriptors:
        wrong.append(f"descriptors: {idle.descriptors} before, {after.descriptors} after")
    if after.tasks > idle.tasks:
        wrong.append(f"tasks: {idle.tasks} before, {after.tasks} after")
    return wrong


class Watched:
    """The server's process."""

    def __init__(self, pid: int, target: Target) -> None:
        self.pid = pid
        self._client = ByHand(target)
        self._counts_tasks = target.wait is not None
        self._target = target

    def sample(self, began: float, calls: int) -> Sample:
        """Its state now."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        descriptors = sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())
        resident = int(pages) * os.sysconf("SC_PAGE_SIZE")
        return Sample(time.monotonic() - began, calls, resident, descriptors, self._tasks())

    def _tasks(self) -> int:
        """Trio's, of the echo server; threads of the process otherwise."""
        if not self._counts_tasks:
            return sum(1 for _ in Path(f"/proc/{self.pid}/task").iterdir())
        import grpc

        with grpc.insecure_channel(self._target.address) as channel:
            return int(channel.unary_unary("/soak.Raw/Tasks")(b"", timeout=PATIENCE_SECONDS))


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """A process that is ended with the block."""
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def port_of(process: "subprocess.Popen[str]", log: Path) -> int:
    """From the line that says where it listens."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in log.read_text(errors="replace").splitlines():
            _, found, rest = line.partition("listening on 127.0.0.1:")
            if found:
                return int(rest.split()[0].rstrip("."))
        time.sleep(0.05)
    raise SystemExit(f"the server did not begin to listen:\n{log.read_text(errors='replace')[-2000:]}")


def soak(options: argparse.Namespace, folder: Path, out: Callable[[str], None]) -> list[str]:
    """Run it all; what was wrong."""
    with ExitStack() as stack:
        log = folder / "server.log"
        command = [sys.executable, str(Path(__file__).resolve()), "--role", "server"]
        if options.target == "serve":
            command = [sys.executable, "-m", "hushar", "serve", "--demo", "--port", "0"]
            command += ["--set", f"log.spool_dir={folder}/spool", "--set", "metrics.sinks=[]"]
            command += ["--set", f"server.max_connection_age_seconds={AGE_SECONDS}"]
        stderr = stack.enter_context(log.open("wb"))
        server = stack.enter_context(started(command, stderr=stderr, stdout=stderr))
        port = port_of(server, log)
        target = make_target(options.target, port, options.rate)
        watched = Watched(server.pid, target)
        began = time.monotonic()
        idle = watched.sample(began, 0)
        clients = [stack.enter_context(client(name, port, options)) for name in options.clients]
        samples = sampled(watched, clients, began, options.seconds, out)
        for each in clients:
            each.process.terminate()
        wrong = [failure for each in clients for failure in ended(each)]
        after = settled(watched, idle, began, samples[-1].calls)
        kept = [each for each in samples if each.seconds >= options.seconds * WARM_UP]
        allowance = int(options.allowance_mib * MIB)
        wrong += verdict(kept, idle, after, bytes_a_call=options.bytes_a_call, allowance=allowance)
        if server.poll() is not None:
            wrong.append(f"the server ended with {server.returncode}")
        if "Traceback" in log.read_text(errors="replace"):
            wrong.append("a traceback in the server's log:\n" + log.read_text(errors="replace")[-2000:])
        report(clients, kept, idle, after, out)
        return wrong


def make_target(name: str, port: int, rate: float) -> Target:
    """What is called there."""
    return demo_target(port, rate) if name == "serve" else echo_target(port, rate)


@contextmanager
def client(name: str, port: int, options: argparse.Namespace) -> Iterator[Client]:
    """A process of a kind of client."""
    script = str(Path(__file__).resolve())
    command = [sys.executable, script, "--role", name, "--port", str(port), "--rate", str(options.rate)]
    command += ["--target", options.target]
    with started(command, stdout=subprocess.PIPE) as process:
        each = Client(name, process)
        reader = threading.Thread(target=each.read)
        reader.start()
        try:
            yield each
        finally:
            process.terminate()
            reader.join()
            assert process.stdout is not None
            process.stdout.close()


def ended(each: Client) -> Iterator[str]:
    """Wait for a client that was told to stop; its failures."""
    try:
        each.process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        each.process.kill()
        yield f"{each.name}: did not stop"
    # Its last line is read by the thread a moment later.
    time.sleep(0.1)
    if each.said["failures"]:
        yield f"{each.name}: {each.said['failures']} failed, the first with {each.said['failed']}"
    if not each.said["calls"]:
        yield f"{each.name}: made no call"


def sampled(
    watched: Watched, clients: Sequence[Client], began: float, seconds: float, out: Callable[[str], None]
) -> list[Sample]:
    """A sample a second for so many; one line a minute."""
    samples: list[Sample] = []
    start = time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        samples.append(watched.sample(began, sum(each.said["calls"] for each in clients)))
        if len(samples) % 60 == 1:
            out(line_of(samples[-1]))
        time.sleep(max(0.0, min(1.0, start + seconds - now)))
    samples.append(watched.sample(began, sum(each.said["calls"] for each in clients)))
    return samples


def settled(watched: Watched, idle: Sample, began: float, calls: int) -> Sample:
    """Once descriptors and tasks are back to what they were, or have had the time."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        after = watched.sample(began, calls)
        back = after.descriptors <= idle.descriptors and after.tasks <= idle.tasks
        if back or time.monotonic() > deadline:
            return after
        time.sleep(0.2)


def line_of(sample: Sample) -> str:
    """A sample, to read."""
    return (
        f"{sample.seconds:7.0f} s  {sample.calls:10,d} calls  {sample.resident / MIB:7.1f} MiB  "
        f"{sample.descriptors:4d} descriptors  {sample.tasks:4d} tasks"
    )


def report(
    clients: Sequence[Client], kept: Sequence[Sample], idle: Sample, after: Sample, out: Callable[[str], None]
) -> None:
    """What was measured."""
    for each in clients:
        out(f"{each.name:14} {each.said['calls']:10,d} calls, {each.said['failures']} failed")
    for name, sample in (("before", idle), ("warm", kept[0]), ("last", kept[-1]), ("after", after)):
        out(f"{name:7}{line_of(sample)}")
    calls = kept[-1].calls - kept[0].calls
    each_call = slope(kept)
    out(f"slope after the warm-up: {each_call:.3f} bytes a call over {calls:,} calls")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of load")
    parser.add_argument("--target", choices=("echo", "serve"), default="echo")
    parser.add_argument("--rate", type=float, default=100.0, help="rounds a second of the busiest client")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS), metavar="NAME")
    parser.add_argument("--bytes-a-call", type=float, default=1.0, help="that are still flat")
    parser.add_argument("--allowance-mib", type=float, default=3.0, help="of growth, however few the calls")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.role == "server":
        serve_echo()
    elif options.role is not None:
        run_client(options.role, make_target(options.target, options.port, options.rate))
    else:
        with TemporaryDirectory(prefix="hushar-soak-") as folder:
            wrong = soak(options, Path(folder), lambda line: print(line, flush=True))
        print("\n".join(["NOT FLAT, or calls failed:", *wrong]) if wrong else "flat, and no call failed")
        return 1 if wrong else 0
    return 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())

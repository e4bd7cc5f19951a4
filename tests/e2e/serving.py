"""Real processes and real clients: `hushar serve` from a workspace of its own, called by grpcio."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

import grpc

PATIENCE_SECONDS = 30
"""Bounds every wait for a process; nothing here is expected to take a tenth of it."""
LISTENING = re.compile(r"listening on ([^\s\"]+):(\d+)")
IDENTITY = {"type": "identity", "default_val": [0.0]}


def eventually(probe, what, seconds=PATIENCE_SECONDS):
    """The first truthy result of `probe`, asked again and again; for what another process does in time."""
    deadline = time.monotonic() + seconds
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.02)


def clean_environment(home, extra=None):
    """This process's environment without what hushar and onnxruntime read, with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HUSHAR_", "ORT_"))}
    return {
        **kept,
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / "state"),
        "COLUMNS": "200",
        **(extra or {}),
    }


class Workspace:
    """A folder with a service configuration, a vectorization configuration and a model."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name):
        return self.folder / name

    def write(self, name, content):
        """A file of the folder: bytes as they are, anything else as JSON."""
        target = self.path(name)
        target.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return target

    def configure(self, model, vectorization=None, /, **settings):
        """Write all three files; `settings` are sections and keys of the service configuration."""
        if vectorization is None:
            vectorization = {"feature_transformations": {"x": IDENTITY}, "feature_order": ["x"]}
        self.write("model.onnx", model)
        self.write("vectorization.json", vectorization)
        service = {
            "model_path": "model.onnx",
            "model_id": "tested",
            "vectorization_instruction_path": "vectorization.json",
            "metrics": {"sinks": []},
        }
        return self.write("service.json", {**service, **settings})

    def spawn(self, *arguments, env=None, **options):
        """`hushar ARGUMENTS…` in the folder, as a process."""
        return subprocess.Popen(
            [sys.executable, "-m", "hushar", *map(str, arguments)],
            cwd=self.folder,
            env=clean_environment(self.folder, env),
            text=True,
            **options,
        )

    def fork(self, forker, *arguments, env=None):
        """`hushar ARGUMENTS…` in the folder, by the process that forks: quick, for commands that end."""
        return forker.run(self.folder, clean_environment(self.folder, env), *arguments)

    def run(self, *arguments, env=None, stdin=None):
        """The same, waited for: a CompletedProcess with text output."""
        process = self.spawn(
            *arguments, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            out, err = process.communicate(stdin, timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{arguments} did not end; stdout: {out}\nstderr: {err}") from None
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


class Server:
    """One `hushar serve` process. Its standard error is read all the time, its standard output to a file."""

    def __init__(self, workspace, config, arguments, env):
        self.workspace = workspace
        self._lines = []
        self._changed = threading.Condition()
        self._stdout = workspace.path("stdout.txt").open("wb")
        self.process = workspace.spawn(
            "serve", *config, "--port", "0", *arguments, env=env, stdout=self._stdout, stderr=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._lines.append(None)
            self._changed.notify_all()

    @property
    def lines(self):
        """The lines on standard error so far."""
        with self._changed:
            return [line for line in self._lines if line is not None]

    @property
    def stderr(self):
        return "\n".join(self.lines)

    def line(self, pattern):
        """Waits for a line on standard error that matches, and returns the match."""
        pattern = re.compile(pattern)
        deadline = time.monotonic() + PATIENCE_SECONDS
        seen = 0
        with self._changed:
            while True:
                for line in self._lines[seen:]:
                    if line is None:
                        raise AssertionError(f"the server ended before {pattern.pattern!r}:\n" + self._text())
                    if match := pattern.search(line):
                        return match
                seen = len(self._lines)
                if not self._changed.wait(max(0, deadline - time.monotonic())):
                    raise AssertionError(f"no line with {pattern.pattern!r}:\n" + self._text())

    def _text(self):
        return "\n".join(line for line in self._lines if line is not None)

    @property
    def address(self):
        """HOST:PORT, once the server is ready."""
        host, port = self.line(LISTENING).groups()
        return f"{host}:{port}"

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """The exit status (bounded wait)."""
        try:
            status = self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end:\n{self.stderr}") from None
        self._reader.join(PATIENCE_SECONDS)
        return status

    def terminate(self):
        """SIGTERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        """SIGKILL, and wait for the end."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def close(self):
        """Ends the process whatever state it is in."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stderr.close()
        self._stdout.close()


class Servers:
    """Starts servers and ends them all, whatever happened."""

    def __init__(self, folder):
        self._folder = folder
        self._started = []

    def workspace(self, name="workspace"):
        return Workspace(self._folder / name)

    def start(self, workspace, *arguments, config=None, env=None, wait=True):
        """Serves the workspace's service.json (or `config`, a list of arguments); waits until it listens."""
        given = config if config is not None else [workspace.path("service.json")]
        server = Server(workspace, given, arguments, env)
        self._started.append(server)
        if wait:
            assert server.address
        return server

    def serve(self, model, vectorization=None, /, *arguments, env=None, name="workspace", **settings):
        """Configures a workspace and serves it."""
        workspace = self.workspace(name)
        workspace.configure(model, vectorization, **settings)
        return self.start(workspace, *arguments, env=env)

    def close(self):
        for server in self._started:
            server.close()


class Client:
    """A plain grpcio client of one server. Errors are grpc.RpcError; every call has a deadline."""

    def __init__(self, address, messages, credentials=None):
        self._messages = messages
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        if credentials is None:
            self.channel = grpc.insecure_channel(address, options=options)
        else:
            self.channel = grpc.secure_channel(address, credentials, options=options)
        method = "/hushar.Hushar/InferenceService"
        self._raw = self.channel.unary_unary(method, None, None)
        self._typed = self.channel.unary_unary(
            method, messages.Request.SerializeToString, messages.Response.FromString
        )

    def request(self, rows, request_id=""):
        """An InferenceRequest, as Messages.request makes them."""
        return self._messages.request(rows, request_id)

    def raw(self, message):
        """Bytes in, bytes out."""
        return self._raw(message, timeout=PATIENCE_SECONDS)

    def answer(self, message):
        """Bytes in, InferenceResponse out."""
        return self._messages.Response.FromString(self.raw(message))

    def score(self, request, timeout=PATIENCE_SECONDS):
        """InferenceRequest in, InferenceResponse out."""
        return self._typed(request, timeout=timeout)

    def future(self, request, timeout=2 * PATIENCE_SECONDS):
        """The call begun and not waited for."""
        return self._typed.future(request, timeout=timeout)

    def rows(self, rows, request_id=""):
        """The scores, a list a row, of [(row_id, {name: (kind, value)}), …]."""
        answer = self.score(self._messages.request(rows, request_id))
        return [list(row.scores) for row in answer.outputs]

    def status(self, message):
        """(code's name, details) of a call with raw bytes that ought to fail."""
        try:
            self.raw(message)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""

    def close(self):
        self.channel.close()


@dataclass(frozen=True)
class LogFile:
    path: Path
    data: bytes
    logs: object

    @property
    def batches(self):
        return self.logs.inferenceLogBatches


def log_files(folder, messages):
    """Every delivered file of a log directory, parsed whole; the spool is left out."""
    if not folder.is_dir():
        return []
    paths = sorted(path for path in folder.rglob("*.pb") if ".spool" not in path.parts)
    found = [(path, path.read_bytes()) for path in paths]
    return [LogFile(path, data, messages.Logs.FromString(data)) for path, data in found]


def logged_ids(folder, messages):
    """The request id of every logged batch, in no order."""
    return [batch.request_id for file in log_files(folder, messages) for batch in file.batches]


@dataclass
class Load:
    """What clients that call all the time have seen."""

    answered: list
    failed: list
    executor: futures.ThreadPoolExecutor
    tasks: list

    def finish(self):
        """Waits for every thread; an error other than grpc's is raised here."""
        for task in self.tasks:
            task.result(PATIENCE_SECONDS)
        self.executor.shutdown()


def load(address, messages, features, threads=8, prefix=""):
    """Threads with a channel each that call one by one, each with its own request id, until a call fails."""
    answered, failed = [], []

    def run(thread):
        client = Client(address, messages)
        for number in range(1_000_000):
            request_id = f"{prefix}{thread}-{number}"
            request = messages.request([(f"{request_id}-row", features)], request_id)
            try:
                answer = client.score(request)
            except grpc.RpcError as error:
                failed.append((request_id, error.code().name, error.details()))
                break
            assert answer.request_id == request_id
            answered.append(request_id)
        client.close()

    executor = futures.ThreadPoolExecutor(threads)
    return Load(answered, failed, executor, [executor.submit(run, thread) for thread in range(threads)])

"""`hushar serve`: from the command line to the end of the process."""

import io
import json
import logging
import os
import re
import signal
import socket
import sys

import pytest

from hushar.cli import serve


@pytest.fixture(autouse=True)
def _messages_go_where_they_went():
    """A server changes loggers of the whole process."""
    loggers = [logging.getLogger(name) for name in ("hushar", "purerpc")]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.fixture(autouse=True)
def _signals_mean_what_they_meant():
    """At its end the command leaves nothing that a signal could spoil."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Terminal(io.StringIO):
    """Standard error, in front of which somebody sends a signal as soon as the server listens."""

    def __init__(self, number):
        super().__init__()
        self._number = number

    def write(self, text):
        written = super().write(text)
        if "listening on" in text:
            os.kill(os.getpid(), self._number)
        return written


@pytest.fixture
def serve_until(hushar, monkeypatch):
    """serve_until(signal, arguments…): exit status, standard error."""

    def run(number, *arguments):
        terminal = Terminal(number)
        monkeypatch.setattr(sys, "stderr", terminal)
        ran = hushar("serve", *arguments, "--port", "0", "--set", "metrics.sinks=[]")
        assert ran.out == ""
        return ran.status, terminal.getvalue()

    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_ends_with_0(serve_until, number):
    status, said = serve_until(number, "--demo")
    assert status == 0
    assert re.search(r"^listening on 127\.0\.0\.1:\d+$", said, re.MULTILINE)
    assert "model id: penguins" in said
    assert said.endswith("stopped\n")


def test_options_are_heeded(serve_until):
    status, said = serve_until(
        signal.SIGTERM, "--demo", "--log-format", "json", "--set", "model_id=mine", "--log-level", "warning"
    )
    assert status == 0
    (line,) = said.splitlines()
    assert json.loads(line)["model_id"] == "mine"


def test_mistakes_are_lines_and_status_2(hushar, tmp_path):
    (tmp_path / "service.json").write_text('{"model_id": ""}')
    ran = hushar("serve", tmp_path / "service.json")
    assert (ran.status, ran.out) == (2, "")
    assert all(line.startswith(f"{tmp_path}/service.json: ") for line in ran.err.splitlines())
    assert {"model_id", "model_path"} <= {line.split(": ")[1] for line in ran.err.splitlines()}


def test_a_port_in_use_is_a_line_and_status_2(hushar):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ran = hushar("serve", "--demo", "--port", port)
    assert ran.status == 2
    assert ran.err == f"command line: --port: 127.0.0.1:{port} is already in use\n"


def test_a_process_in_which_a_model_still_computes_is_left_without_waiting(hushar, monkeypatch):
    class Left(BaseException):
        """The process is gone."""

    def leave(status):
        raise Left(status)

    async def outlasted(source, *, stream):
        assert source.uri.endswith("service.json")
        assert stream is sys.stderr
        return False

    monkeypatch.setattr(serve, "run", outlasted)
    monkeypatch.setattr(serve.os, "_exit", leave)
    with pytest.raises(Left) as left:
        hushar("serve", "--demo")
    assert left.value.args == (0,)

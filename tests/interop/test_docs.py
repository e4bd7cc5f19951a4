"""The examples of docs/rpc.md run as they stand there, but for the port."""

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rpc.md"
PORT = "50055"


@pytest.fixture(scope="module")
def programs():
    """The code blocks of the page that are whole programs: the server, the client."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [block for block in blocks if "trio.run(" in block]


@pytest.fixture
def port():
    """A port that was free a moment ago: the page's server has to be told one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def test_the_server_and_the_client_of_the_page(programs, port):
    server, client = (program.replace(PORT, port) for program in programs)
    with subprocess.Popen([sys.executable, "-c", server]) as process:
        try:
            wait_for(int(port))
            ran = subprocess.run(
                [sys.executable, "-c", client], capture_output=True, text=True, check=False, timeout=30
            )
        finally:
            process.terminate()
    assert ran.stdout.splitlines() == ["Hello, you", "Hello, you too"], ran.stderr


def wait_for(port):
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return

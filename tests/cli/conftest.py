"""The command line in this process: what it prints, and its exit status."""

import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from hushar.cli.root import main


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str


@pytest.fixture
def hushar(monkeypatch, capfdbinary) -> Callable[..., Ran]:
    """Runs `hushar ARGUMENTS…`; of the environment only what the test itself sets is heeded."""
    for name in [name for name in os.environ if name.startswith("HUSHAR_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "argv", ["hushar", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = main()
        sys.stdout.flush()
        captured = capfdbinary.readouterr()
        return Ran(status, captured.out.decode(), captured.err.decode())

    return run

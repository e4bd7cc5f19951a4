"""`hushar serve` with a stop-watch at the seams between its parts: where each microsecond of a call goes.

    python benchmark/servers/timed_hushar.py SERVICE.json --figures FILE.json

Functions that run once a batch or once a read are wrapped, never one that runs once a call. A part's time is
its own: what it calls that has a stop-watch too is counted there. SIGUSR1 begins anew, SIGUSR2 writes what
has been counted into FILE.json.
"""

import argparse
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BATCHES = "batcher"
"""The part whose calls are counted as batches."""

SEAMS: Sequence[tuple[str, str, str]] = (
    # part, module, name in it
    ("sockets: recv", "hushar.rpc.links", "Link.receive"),
    ("sockets: send", "hushar.rpc.links", "Link.send"),
    ("engine in", "hushar.rpc.server_engine", "ServerConnection.receive_data"),
    ("engine out", "hushar.rpc.server_engine", "ServerConnection.data_to_send"),
    ("engine out", "hushar.services.native", "reply_all"),
    ("reader of all sockets", "hushar.rpc.driver", "Driver.on_ready"),
    ("reader of all sockets", "hushar.rpc.driver", "Driver.flush"),
    (BATCHES, "hushar.inference.batcher", "Batcher.submit"),
    (BATCHES, "hushar.inference.batcher", "Batcher._serve"),
    ("batcher: metrics", "hushar.sidecars.metrics", "MetricsSidecar._add"),
    ("scorer", "hushar.inference.scoring", "Scorer.score"),
    ("vectorize", "hushar.features.vectorize", "ReferenceVectorizer.count"),
    ("vectorize", "hushar.features.vectorize", "ReferenceVectorizer.vectorize"),
    ("model", "hushar.models.onnx", "OnnxRuntime.to_tensor"),
    ("model", "hushar.models.onnx", "OnnxRuntime.run"),
)
KERNEL_SEAMS: Sequence[tuple[str, str, str]] = (
    ("vectorize", "hushar.features.kernel", "KernelVectorizer.count"),
    ("vectorize", "hushar.features.kernel", "KernelVectorizer.vectorize"),
)
"""Where the kernel was built."""


class _Nested(threading.local):
    """Seconds that were spent inside of the function under way, in functions with a stop-watch."""

    seconds = 0.0


@dataclass
class StopWatch:
    """Seconds of CPU time and uses of each part."""

    seconds: dict[str, float] = field(default_factory=dict)
    uses: dict[str, int] = field(default_factory=dict)
    begun_cpu: float = 0.0
    _nested: _Nested = field(default_factory=_Nested)

    def restart(self) -> None:
        """Count from here."""
        self.seconds.clear()
        self.uses.clear()
        self.begun_cpu = time.process_time()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, counted under `part`."""
        # CPU time: what else the machine does is no part of it.
        clock, nested = time.thread_time, self._nested

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            outer, nested.seconds = nested.seconds, 0.0
            started = clock()
            try:
                return function(*args, **kwargs)
            finally:
                spent = clock() - started
                self.seconds[part] = self.seconds.get(part, 0.0) + spent - nested.seconds
                self.uses[part] = self.uses.get(part, 0) + 1
                nested.seconds = outer + spent

        return wrapper

    def write(self, file: Path) -> None:
        """What has been counted since `restart`."""
        found = {
            "cpu_seconds": time.process_time() - self.begun_cpu,
            "seconds": self.seconds,
            "uses": self.uses,
        }
        whole = file.with_suffix(".new")
        whole.write_text(json.dumps(found), encoding="utf-8")
        whole.replace(file)


class _Epoll:
    """An epoll object whose polls are counted."""

    def __init__(self, watch: StopWatch) -> None:
        self._epoll = select.epoll()
        self.poll = watch.timed("sockets: epoll", self._epoll.poll)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)


def install(watch: StopWatch) -> None:
    """Put the stop-watch at every seam. Raises AttributeError, ImportError where one is gone."""
    from hushar.features.vectorize import kernel_problem  # noqa: PLC0415

    for part, module_name, name in (*SEAMS, *(() if kernel_problem("cython") else KERNEL_SEAMS)):
        owner: Any = importlib.import_module(module_name)
        *classes, last = name.split(".")
        for each in classes:
            owner = getattr(owner, each)
        timed: Any = watch.timed(part, getattr(owner, last))
        is_static = isinstance(vars(owner).get(last), staticmethod)
        setattr(owner, last, staticmethod(timed) if is_static else timed)
    scoring: Any = importlib.import_module("hushar.inference.scoring")
    choose = scoring.choose

    def choose_timed(vectorizer: str) -> Any:
        chosen = choose(vectorizer)
        ways = {each.name: watch.timed("splice", getattr(chosen, each.name)) for each in fields(chosen)}
        return replace(chosen, **ways)

    scoring.choose = choose_timed
    pollers: Any = importlib.import_module("hushar.rpc.pollers")
    pollers.select = SimpleNamespace(**{**vars(select), "epoll": lambda: _Epoll(watch)})


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", type=Path, metavar="SERVICE.json")
    parser.add_argument("--figures", type=Path, required=True, metavar="FILE.json")
    options = parser.parse_args()
    watch = StopWatch()
    install(watch)
    watch.restart()
    signal.signal(signal.SIGUSR1, lambda *_: watch.restart())
    signal.signal(signal.SIGUSR2, lambda *_: watch.write(options.figures))
    from hushar.cli import main as hushar  # noqa: PLC0415 - after the seams

    sys.argv = ["hushar", "serve", os.fspath(options.service), "--port", "0"]
    hushar()


if __name__ == "__main__":
    main()

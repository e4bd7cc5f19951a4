"""Many short `hushar` commands, each a process of its own, without many slow imports.

Run as a script it imports what the commands need, once; then it forks a child for every line of JSON on
standard input, waits for it, and prints its exit status. A child is what `python -m hushar` would be: its
own arguments, folder, environment and standard streams. No thread runs when it forks.
"""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading

SECONDS = 30
"""A child that lives longer is ended by SIGALRM; its status is then -14."""


def _child(order):
    for target, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(order[name], os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), target)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    signal.alarm(SECONDS)
    sys.argv = ["hushar", *order["arguments"]]
    sys.exit(importlib.import_module("hushar.__main__").main())


def _serve_orders():
    for name in ("hushar.__main__", "hushar.cli.serve", "hushar.cli.check", "numpy", "onnxruntime"):
        importlib.import_module(name)
    gc.freeze()  # or every child would copy all of it as it ends
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


class Forker:
    """The process that forks, seen from the tests."""

    def __init__(self, environment):
        # One thread only: a fork copies no other.
        single = {"OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, **single},
        )
        self._one_at_a_time = threading.Lock()

    def run(self, folder, environment, *arguments):
        """A CompletedProcess, with text output, of `hushar ARGUMENTS…`."""
        out, err = folder / "forked.out", folder / "forked.err"
        order = {"folder": str(folder), "environment": environment, "arguments": [*map(str, arguments)]}
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(order | {"out": str(out), "err": str(err)}) + "\n")
            self._process.stdin.flush()
            status = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())

    def close(self):
        """End of its orders, end of the process."""
        self._process.communicate(timeout=SECONDS)


if __name__ == "__main__":
    _serve_orders()

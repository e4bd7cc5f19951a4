"""`hushar serve` whose every pass over the sockets finds the processor's caches cold.

    python benchmark/servers/cold_hushar.py SERVICE.json --bytes 6291456

Before each pass other memory is written, so many bytes; the clock runs from the pass's beginning until its
answers are with the system. At its end the server says on stderr, as JSON, the microseconds of a pass: the
tenth, fiftieth and ninetieth percentile.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

FIRST_PASSES = 200
"""Not counted: the interpreter has not adapted to its work yet."""
PERCENTILES = (10, 50, 90)


class Watch:
    """The times of passes that have answered something."""

    def __init__(self, size: int) -> None:
        self.micros: list[float] = []
        self._other = np.zeros(size // 8)
        self._begun = 0.0

    def install(self) -> None:
        """Put it around the reader's passes and its sending."""
        from hushar.rpc.driver import Driver  # noqa: PLC0415 - after main has read its arguments

        watched: Any = Driver
        on_ready, flush = watched.on_ready, watched._flush

        def cold_pass(driver: Any, ready: Any) -> None:
            self._other += 1
            self._begun = time.perf_counter()
            on_ready(driver, ready)

        def timed_flush(driver: Any) -> None:
            has_output = bool(driver._dirty)
            flush(driver)
            if has_output and self._begun:
                self.micros.append((time.perf_counter() - self._begun) * 1e6)
                self._begun = 0.0

        watched.on_ready, watched._flush = cold_pass, timed_flush

    def said(self) -> str:
        """The percentiles."""
        counted = self.micros[FIRST_PASSES:]
        found = np.percentile(counted, PERCENTILES) if counted else [float("nan")] * len(PERCENTILES)
        return json.dumps(
            {f"p{name}": round(float(each), 1) for name, each in zip(PERCENTILES, found, strict=True)}
        )


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", type=Path, metavar="SERVICE.json")
    parser.add_argument("--bytes", type=int, required=True)
    options = parser.parse_args()
    watch = Watch(options.bytes)
    watch.install()
    from hushar.cli import main as hushar  # noqa: PLC0415 - what it serves with is watched

    sys.argv = ["hushar", "serve", os.fspath(options.service), "--port", "0"]
    try:
        hushar()
    finally:
        print(f"cold: {watch.said()}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

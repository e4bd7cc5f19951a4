"""What logging every inference to the local disk costs, and whether anything is lost."""

import shutil

from bench import Bench, Section, columns, say, say_rates
from processes import peak_bytes, reset_peak, resident_bytes
from serve_and_load import HUSHAR, LOGGING, Loaded, Running, ServerMetrics, server_metrics
from workloads import make

from sections.throughput import FEW

QUEUE_BYTES = 64 << 20
"""hushar's default for `log.queue_bytes`."""


def measure(bench: Bench) -> Section:
    """Each workload, with and without a log, in turns."""
    return {workload: _measure(bench, workload, *load) for workload, load in FEW.items()}


def _measure(bench: Bench, name: str, connections: int, streams: int) -> Section:
    log = bench.folder / f"{name}-log"
    peaks: list[int] = []
    with bench.serving(make(name), [HUSHAR, LOGGING], log=log) as serving:
        logging = serving.server(LOGGING)
        # One call at a time leaves nothing in the queue.
        serving.load(logging, bench.warm_up, 1, 1)
        before = resident_bytes(logging.pid)

        def one(server: Running, seconds: float) -> Loaded:
            reset_peak(logging.pid)
            found = serving.load(server, seconds, connections, streams)
            if server is logging:
                peaks.append(peak_bytes(logging.pid))
            return found

        found = serving.in_turns(one)
        books = server_metrics(logging.stop())
    shutil.rmtree(log, ignore_errors=True)
    section: Section = {
        "connections": connections,
        "streams": streams,
        "servers": {server: columns(rounds) for server, rounds in found.items()},
        "queue_bytes": QUEUE_BYTES,
        "rss_growth_bytes": max(peaks) - before,
        **_books(books),
    }
    say_rates(f"{name}, {connections} x {streams}", section["servers"], saturated=True)
    say(f"  {section['dropped']:,.0f} of {section['accepted']:,.0f} records dropped")
    return section


def _books(found: ServerMetrics) -> dict[str, float]:
    """Every call that was answered OK is accepted, and then delivered, or dropped and counted."""
    return {
        "answered": found.count("Requests", "OK"),
        "accepted": found.count("LogRecordsAccepted"),
        "delivered": found.count("LogRecordsDelivered"),
        "dropped": found.count("LogRecordsDropped"),
    }

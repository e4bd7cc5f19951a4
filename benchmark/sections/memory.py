"""Resident memory: in rounds of mixed sizes after a warm-up with the largest, and under one-row calls."""

from bench import Bench, Section, say
from processes import peak_bytes, reset_peak, resident_bytes
from serve_and_load import HUSHAR, LARGE_MESSAGES
from workloads import make

MIXED = ((1, 4, 25, 2_000), (10, 4, 25, 500), (100, 4, 5, 200), (1_000, 2, 2, 40), (10_000, 1, 1, 8))
"""Rows a call, connections, calls in flight on each, calls."""
WARM_UPS = 4
ROUNDS = 6
FULL_SPEED = (4, 25)


def measure(bench: Bench) -> Section:
    """hushar, W2's rows."""
    with bench.serving(make("W2"), [HUSHAR], settings=[LARGE_MESSAGES]) as serving:
        (server,) = serving.servers
        sized = {rows: serving.resized(make("W2", rows=rows)) for rows, *_ in MIXED}

        def mixed() -> int:
            reset_peak(server.pid)
            for rows, connections, streams, calls in MIXED:
                sized[rows].load(server, 0, connections, streams, calls=calls)
            return peak_bytes(server.pid)

        reset_peak(server.pid)
        for rows, connections, streams, calls in MIXED[-2:]:
            for _ in range(WARM_UPS):
                sized[rows].load(server, 0, connections, streams, calls=calls)
        warm = peak_bytes(server.pid)
        peaks = [mixed() for _ in range(ROUNDS)]
        sized[1].load(server, bench.warm_up, *FULL_SPEED)
        one_row = [resident_bytes(server.pid)]
        for _ in range(bench.rounds):
            sized[1].load(server, bench.seconds, *FULL_SPEED)
            one_row.append(resident_bytes(server.pid))
    say(f"peak {warm / 1e6:,.0f} MB warm, then {[round(peak / 1e6) for peak in peaks]} MB")
    return {"warm_peak_bytes": warm, "round_peak_bytes": peaks, "one_row_bytes": one_row}

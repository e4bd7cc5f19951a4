"""Run by test_failure_matrix: five megabytes of records for a spool on a disk of one, with a sink that is
down meanwhile. Prints, as JSON, what became of them, and what the pens have met with.

    python full_disk.py DIRECTORY COMPRESSION ROTATE_BYTES
"""

import errno
import json
import sys
from collections import Counter
from pathlib import Path
from random import Random

import trio

from hushar.errors import SinkError
from hushar.records import LogBatch
from hushar.sidecars.ledger import DropReason
from hushar.sidecars.log import LogSidecar
from hushar.sidecars.pen import Pen
from hushar.sidecars.settings import LogSettings
from hushar.testing import MemoryLogSink, log_record


def watch_pens() -> Counter[str]:
    """How often a pen has written all, a part, or nothing, by the name of the error if there was one."""
    met: Counter[str] = Counter()
    write = Pen.write

    async def watched(pen, job):
        size, number = await write(pen, job)
        if number:
            met[f"{'part' if size else 'nothing'}: {errno.errorcode[number]}"] += 1
        else:
            met["all"] += 1
        return size, number

    Pen.write = watched
    return met


async def main(directory: Path, compression: str, rotate_bytes: int) -> dict[str, object]:
    pens = watch_pens()
    sink = MemoryLogSink()
    down = [True]

    async def deliver_if_up(segment):
        if down[0]:
            raise SinkError("down")
        sink.segments[segment.key] = segment.path.read_bytes()

    sink.deliver = deliver_if_up
    settings = LogSettings(
        workers=2, rotate_bytes=rotate_bytes, spool_min_free_bytes=0, compression=compression,
        retry_min_seconds=0.01, retry_max_seconds=0.05, drain_seconds=60,
    )  # fmt: skip
    # Several writes before the disk is full.
    sidecar = LogSidecar(settings, sink, directory / "spool", instance="full", gather_seconds=0.02)
    noise = Random(3)
    async with trio.open_nursery() as nursery:
        await nursery.start(sidecar.run)
        for number in range(500):
            text = noise.randbytes(5000).hex()
            sidecar.outlet(LogBatch((log_record(str(number), features={"x": text}),)))
            await trio.sleep(0.001)
        await until(lambda: not sidecar.statistics().queued_bytes)
        down[0] = False
        await until(lambda: sidecar.statistics().spool_bytes <= 500_000)
        for number in range(500, 510):
            sidecar.outlet(LogBatch((log_record(str(number)),)))
        sidecar.close()
    now = sidecar.statistics()
    return {
        "pens": pens,
        "disk_full": now.dropped_records[DropReason.DISK_FULL],
        "delivered": now.delivered_records,
        "spooled": now.spooled_records,
        "ids": [int(batch.request_id) for batch in sink.batches],
        "left": [path.name for path in (directory / "spool").iterdir()],
    }


async def until(reached) -> None:
    for _ in range(6000):
        if reached():
            return
        await trio.sleep(0.01)
    raise TimeoutError


if __name__ == "__main__":
    sys.stdout.write(json.dumps(trio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))

"""Load from outside: calls that are each made once, and what became of them."""

import threading
import time
from collections import Counter

import trio

from hushar.client import CallFailed, Client, ConnectionFailed
from hushar.proto.structs_pb2 import InferenceRequest

PATIENCE_SECONDS = 30
"""Bounds every wait; nothing here is expected to take a tenth of it."""
PAUSE_SECONDS = 0.02
LONGEST_ROUND_SECONDS = 1.0


def eventually(probe, what, seconds=PATIENCE_SECONDS):
    """The first truthy result of `probe`, asked again and again.

    A machine that stands still for a while has no time to be late: no round counts for more than
    LONGEST_ROUND_SECONDS.
    """
    waited = 0.0
    while waited < seconds:
        start = time.monotonic()
        if result := probe():
            return result
        time.sleep(PAUSE_SECONDS)
        waited += min(time.monotonic() - start, LONGEST_ROUND_SECONDS)
    raise AssertionError(f"waited {seconds} s for {what}")


class Load:
    """Tasks that call one call after the other, in a thread of their own, from `with` to its end.

    `address()` says where the server is, None while there is none. No call is made twice: what was not
    answered has failed, and may be in the log or not.
    """

    def __init__(
        self, address, *, prefix="q", tasks=8, pause=0.002, ballast="x" * 200, limit=None, token=None
    ):
        self._address = address
        self._prefix = prefix
        self._tasks = tasks
        self._pause = pause
        self._ballast = ballast
        self._limit = limit
        self._token = token
        self._sent = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)
        self.answered = {}
        """Request id → when its answer came (time.monotonic)."""
        self.served_by = {}
        """Request id → the address that answered."""
        self.failed = []
        """(request id, status) of every other call."""

    @property
    def statuses(self):
        return Counter(status for _, status in self.failed)

    def wait_for_answers(self, more):
        """Wait for so many more answers."""
        wanted = len(self.answered) + more
        eventually(lambda: len(self.answered) >= wanted, f"{more} answers; failed: {self.statuses}")

    def finish(self):
        """Wait until `limit` calls have been made."""
        self._thread.join(2 * PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def stop(self):
        """No new calls; wait for those under way."""
        self._stopping.set()
        self.finish()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self.stop()

    @property
    def _done(self):
        return self._stopping.is_set() or (self._limit is not None and self._sent >= self._limit)

    async def _run(self):
        while not self._done:
            address = self._address()
            if address is None:
                await trio.sleep(0.01)
                continue
            try:
                options = {"timeout_seconds": PATIENCE_SECONDS, "retries": 0, "token": self._token}
                async with Client.connect(address, **options) as client, trio.open_nursery() as nursery:
                    for _ in range(self._tasks):
                        nursery.start_soon(self._call, client, address)
            except ConnectionFailed:
                await trio.sleep(0.01)

    async def _call(self, client, address):
        while not self._done and self._address() == address:
            self._sent += 1
            request_id = f"{self._prefix}-{self._sent}"
            try:
                await client.infer(request(request_id, self._ballast))
            except CallFailed as error:
                self.failed.append((request_id, error.code))
                if isinstance(error, ConnectionFailed):
                    return
            else:
                self.served_by[request_id] = address
                self.answered[request_id] = time.monotonic()
            await trio.sleep(self._pause)


def request(request_id, ballast):
    """One row with the feature that the model wants, and one that is only logged."""
    made = InferenceRequest(request_id=request_id)
    row = made.inputs.add(row_id=request_id)
    row.features["x"].float_value = 1.0
    row.features["ballast"].string_value = ballast
    return made

"""Files that are read again while the server runs: certificates and tokens.

They are looked at every so many seconds, and when `look` is called. What cannot be read or used leaves
what is in force, with one line in the log, not one for every look.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import trio

from hushar.errors import ConfigurationError

log = logging.getLogger("hushar")

T = TypeVar("T")


class Kept(Generic[T]):
    """One thing that is made of files."""

    def __init__(
        self, what: str, paths: Iterable[str], make: Callable[[], T], take: Callable[[T], None]
    ) -> None:
        """`make` reads the files, in a thread, and raises ConfigurationError; `take` puts what it made
        in force, in the event loop. `what` is for the log: `the certificates`."""
        self.what = what
        self._paths = tuple(paths)
        self._make = make
        self._take = take
        self._in_force: bytes | None = None
        self._complaint: str | None = None

    async def look(self, *, asked: bool) -> None:
        """Read the files again if they are others than those in force. `asked`: say so in any case."""
        try:
            made, digest = await trio.to_thread.run_sync(self._read)
        except ConfigurationError as error:
            self._complain("; ".join(str(problem) for problem in error.problems), asked=asked)
            return
        self._complaint = None
        if made is not None:
            self._take(made)
        if asked or (made is not None and self._in_force is not None):
            log.info("%s %s", self.what, "have not changed" if made is None else "were read again")
        self._in_force = digest

    def _complain(self, complaint: str, *, asked: bool) -> None:
        if asked or complaint != self._complaint:
            log.error("%s stay as they are: %s", self.what, complaint)
        self._complaint = complaint

    def _read(self) -> tuple[T | None, bytes]:
        """What the files make, None if it is in force already, and a digest of them."""
        digest = hashlib.sha256()
        for path in self._paths:
            try:
                content = Path(path).read_bytes()
            except OSError:
                content = b""  # `make` finds out, and says so
            digest.update(len(content).to_bytes(8) + content)
        made = None if digest.digest() == self._in_force else self._make()
        return made, digest.digest()


class Reloader:
    """Looks at everything that is kept."""

    def __init__(self, kept: Sequence[Kept[object]], seconds: float) -> None:
        self._kept = kept
        self._seconds = seconds
        self._asked = trio.Event()

    def look(self) -> None:
        """Look now."""
        self._asked.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look every so many seconds until cancelled."""
        task_status.started()
        while True:
            with trio.move_on_after(self._seconds):
                await self._asked.wait()
            asked = self._asked.is_set()
            self._asked = trio.Event()
            for each in self._kept:
                await each.look(asked=asked)

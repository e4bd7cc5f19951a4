"""Writing beside the event loop without the interpreter.

A thread of Python's takes the GIL before and after each call of the system. On a busy core that is two
changes of threads each time, for the event loop has to let go of it and then to wait for it: a hop to such a
thread costs several times what the write costs. The thread of a Pen (`_pen.pyx`) never takes the GIL.

Where it was not built, writing goes through a thread of Python's as all else does.
"""

import logging
import os
import threading

import trio

from hushar.sidecars.appending import Job

try:
    from hushar.sidecars import _pen
except ImportError:
    # Not built: no compiler was there.
    _pen = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


class Pen:
    """One writer's thread. Made by `make_pen`; for the event loop's thread only, one `write` at a time."""

    def __init__(self) -> None:
        """Raises OSError if the system has no more descriptors or threads."""
        self._done, done = _descriptors()
        self._open = {self._done, done}
        try:
            self._thread = _pen.Thread(done)
            # Should the process end while a disk hangs, it must not be waited for.
            self._runner = threading.Thread(target=self._thread.run, name="hushar log", daemon=True)
            self._runner.start()
        except BaseException as error:
            self._close()
            if isinstance(error, RuntimeError):
                raise OSError(f"no thread for the log: {error}") from error
            raise

    # A signal waits as well: what it raises in here would leave the thread at work.
    @trio.lowlevel.enable_ki_protection
    async def write(self, job: Job) -> tuple[int, int]:
        """Make the writes one after the other; how many bytes were written, and the errno of why not all.

        Once begun it is not abandoned: a cancellation waits for its end. Raises only before that what a
        job is no job for, and KeyboardInterrupt after it.
        """
        self._thread.begin(*job)
        try:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.wait_readable(self._done)
        except Exception:
            # The system has no room for one more to wait for. The event loop stands still for this write.
            logger.debug("log: a write is waited for in place", exc_info=True)
        finally:
            # Whatever it was that ended the waiting. The caller lets go of the file and of the memory next,
            # and another file may be given the number of its descriptor: nothing must be written any more.
            os.read(self._done, 8)
            done = self._thread.end()
        return done

    def close(self) -> None:
        """End the thread."""
        self._thread.stop()
        self._runner.join()
        self._close()

    def _close(self) -> None:
        # Once each: a number that is let go of is soon somebody else's.
        while self._open:
            os.close(self._open.pop())


def make_pen() -> Pen | None:
    """None where there can be none."""
    try:
        return Pen() if _pen is not None else None
    except OSError:
        return None


def no_pen() -> Pen | None:
    """Where writing is to go through threads of Python's."""
    return None


def _descriptors() -> tuple[int, int]:
    """Where it is read, and where it is written, that a job is done."""
    if (eventfd := getattr(os, "eventfd", None)) is not None:
        both: int = eventfd(0)
        return both, both
    return os.pipe()

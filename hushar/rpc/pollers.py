"""Which sockets are ready: one epoll object for all of them, or a task for each where there is none.

trio waits for the epoll object's own descriptor, which is readable while any of its sockets is ready.
A connection then costs no task and no wake-up of its own: one pass of the reader serves all of them.

Under overload the sockets rest between two passes: what comes meanwhile is read, and refused, together.
"""

import select
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import trio

from hushar.timer import Timer, make_timer

READ = 1
"""The number is that of EPOLLIN."""
WRITE = 2

_LINGER_POLLS: Final = 200
"""Each takes about a quarter of a microsecond: 50 of them together."""
_MOST_IN_VAIN: Final = 6
"""It is tried once in 64 times at least."""

OnReady = Callable[[Iterable[tuple[int, int]]], None]
"""Gets (descriptor, READ | WRITE) of each socket that is ready. A plain function."""


class Poller(Protocol):
    """Watches sockets by descriptor."""

    def watch(self, descriptor: int, interest: int) -> None:
        """Watch a socket, or change what it is watched for: READ, WRITE, both, or 0 for neither."""
        ...

    def forget(self, descriptor: int) -> None:
        """Stop watching, before the socket is closed."""
        ...

    def rest(self, seconds: float) -> None:
        """Look at nothing for so long, once `on_ready`, which has called this, has returned."""
        ...

    async def run(self, on_ready: OnReady, *, task_status: trio.TaskStatus[None]) -> None:
        """Call `on_ready` whenever something is ready, until cancelled."""
        ...

    def close(self) -> None:
        """Release the poller's own descriptor."""
        ...


def make_poller() -> Poller:
    """The best poller of this system."""
    return EpollPoller() if hasattr(select, "epoll") else TaskPoller()


class EpollPoller:
    """One epoll object (Linux)."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, int] = {}
        self._rest = 0.0
        self._timer: Timer | None = None
        self._in_vain = 0
        """How often `_linger` has found nothing in a row."""
        self._pause = 0
        """How often it will not try now."""

    def watch(self, descriptor: int, interest: int) -> None:
        """See Poller."""
        mask = (select.EPOLLIN if interest & READ else 0) | (select.EPOLLOUT if interest & WRITE else 0)
        known = self._watched.get(descriptor)
        if known is None:
            self._epoll.register(descriptor, mask)
        elif known != mask:
            self._epoll.modify(descriptor, mask)
        self._watched[descriptor] = mask

    def forget(self, descriptor: int) -> None:
        """See Poller."""
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def rest(self, seconds: float) -> None:
        """See Poller."""
        self._rest = seconds

    async def run(
        self, on_ready: OnReady, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """See Poller."""
        task_status.started()
        if self._timer is None:
            # Now, and not under the overload that it is for, when there may be no descriptor.
            self._timer = make_timer()
        poll, descriptor = self._epoll.poll, self._epoll.fileno()
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            # Until nothing is ready: trio's own wait costs more than a poll. Others get their turn.
            ready = poll(0)
            while ready:
                is_alone = len(ready) == 1
                on_ready(_interests(ready))
                if self._rest:
                    seconds, self._rest = self._rest, 0.0
                    await self._sleep(seconds)
                else:
                    await trio.lowlevel.checkpoint()
                ready = poll(0) or (self._linger() if is_alone else [])

    async def _sleep(self, seconds: float) -> None:
        if self._timer is None:
            await trio.sleep(seconds)
        else:
            await self._timer.sleep(seconds)

    def _linger(self) -> list[tuple[int, int]]:
        """What a client says next that says one thing at a time; empty if that does not come soon.

        It takes such a client as long to read an answer and to say the next thing as it takes the system to
        put this process to sleep and to wake it. Where that has been in vain it is tried ever more rarely.
        """
        if self._pause:
            self._pause -= 1
            return []
        for _ in range(_LINGER_POLLS):
            if ready := self._epoll.poll(0):
                self._in_vain = 0
                return ready
        self._in_vain = min(self._in_vain + 1, _MOST_IN_VAIN)
        self._pause = 1 << self._in_vain
        return []

    def close(self) -> None:
        """See Poller."""
        self._epoll.close()
        if self._timer is not None:
            self._timer.close()
            self._timer = None


def _interests(ready: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Epoll's masks as ours. Nearly all are EPOLLIN alone, which is READ."""
    if len(ready) == 1 and ready[0][1] == READ:
        return ready
    return [each if each[1] == READ else (each[0], _interest(each[1])) for each in ready]


def _interest(mask: int) -> int:
    """An error or a hang-up is met by reading."""
    return (WRITE if mask & select.EPOLLOUT else 0) | (READ if mask & ~select.EPOLLOUT else 0)


class TaskPoller:
    """A task for each socket and direction that is watched (no epoll)."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None
        self._on_ready: OnReady | None = None
        self._scopes: dict[tuple[int, int], trio.CancelScope] = {}
        self._rest = 0.0

    def watch(self, descriptor: int, interest: int) -> None:
        """See Poller."""
        for direction in (READ, WRITE):
            watched = (descriptor, direction) in self._scopes
            if interest & direction and not watched and self._nursery is not None:
                scope = self._scopes[descriptor, direction] = trio.CancelScope()
                self._nursery.start_soon(self._wait, descriptor, direction, scope)
            elif watched and not interest & direction:
                self._scopes.pop((descriptor, direction)).cancel()

    def forget(self, descriptor: int) -> None:
        """See Poller."""
        for direction in (READ, WRITE):
            scope = self._scopes.pop((descriptor, direction), None)
            if scope is not None:
                scope.cancel()

    def rest(self, seconds: float) -> None:
        """See Poller; here the socket rests whose pass it was."""
        self._rest = seconds

    async def run(
        self, on_ready: OnReady, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """See Poller."""
        self._on_ready = on_ready
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def _wait(self, descriptor: int, direction: int, scope: trio.CancelScope) -> None:
        wait = trio.lowlevel.wait_readable if direction == READ else trio.lowlevel.wait_writable
        with scope:
            # Once it is forgotten the descriptor may be closed, or be another socket's.
            while not scope.cancel_called:
                await wait(descriptor)
                if self._on_ready is not None:
                    self._on_ready([(descriptor, direction)])
                if self._rest:
                    seconds, self._rest = self._rest, 0.0
                    await trio.sleep(seconds)

    def close(self) -> None:
        """See Poller."""

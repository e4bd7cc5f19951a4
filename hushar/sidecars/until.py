"""Work that is given up when something happens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def until(event: trio.Event) -> AsyncIterator[None]:
    """Run the block; what is left of it is cancelled once `event` is set."""
    async with trio.open_nursery() as nursery:
        await nursery.start(_cancel_when, event, nursery.cancel_scope)
        yield
        nursery.cancel_scope.cancel()


async def _cancel_when(
    event: trio.Event,
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    task_status.started()
    await event.wait()
    scope.cancel()

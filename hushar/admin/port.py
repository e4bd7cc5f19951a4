"""The admin port itself: what is answered under which path.

There is no authentication: it binds loopback unless it is told otherwise, nothing can be changed by it, and
nothing secret and no feature's value is told.
"""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from hushar.admin import document
from hushar.admin.exposition import expose
from hushar.admin.history import STEP_SECONDS, History
from hushar.admin.hosts import LocalHosts
from hushar.admin.messages import RecentMessages
from hushar.admin.reading import Reading, Source, State
from hushar.admin.status import status

_HEADERS: Final = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}
_MOST_FEATURES_AT_ONCE: Final = 50
"""The text of more is made in a thread: calls should not wait for it."""


class AdminPort:
    """What there is to tell, and the ASGI app that tells it."""

    def __init__(self, messages: RecentMessages | None = None, *, is_local: bool = False) -> None:
        """`is_local`: it listens on the loopback address only (hosts.py)."""
        self.state = State.STARTING
        self.source: Source | None = None
        """Set as soon as there is something to read."""
        self.messages = messages or RecentMessages()
        self.history = History()
        self._started_at = time.monotonic()
        # One text at a time: many scrapers cost no more than one.
        self._limiter = trio.CapacityLimiter(1)
        routed = Starlette(
            routes=[
                _route("/", self._page),
                _route("/status.json", self._status),
                _route("/metrics", self._metrics),
                _route("/healthz", self._healthz),
                _route("/readyz", self._readyz),
            ]
        )
        self.app: ASGIApp = LocalHosts(routed) if is_local else routed

    async def watch(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look at what happens, for the page's plots, until cancelled."""
        task_status.started()
        while True:
            if self.source is not None:
                self.history.add(self.source.glance())
            await trio.sleep(STEP_SECONDS)

    async def _page(self, request: Request) -> Response:  # noqa: ARG002
        return Response(
            document.html(),
            media_type="text/html",
            headers={**_HEADERS, "content-security-policy": document.policy(), "x-frame-options": "DENY"},
        )

    async def _status(self, request: Request) -> Response:  # noqa: ARG002
        uptime = time.monotonic() - self._started_at
        found = status(self.state, uptime, self.messages.newest_first(), self.source, self.history)
        # In ASCII: the name of a file need not be text, and half of a surrogate pair has no other form.
        text = json.dumps(found, allow_nan=False, separators=(",", ":"))
        return Response(text, media_type="application/json", headers=_HEADERS)

    async def _metrics(self, request: Request) -> Response:
        accept = ",".join(request.headers.getlist("accept"))
        async with self._limiter:
            reading = None if self.source is None else self.source.read()
            text, content_type = await _exposed(reading, accept)
        return Response(text, headers={**_HEADERS, "content-type": content_type})

    async def _healthz(self, request: Request) -> Response:  # noqa: ARG002
        """The process lives and its event loop comes round."""
        return PlainTextResponse("ok\n", headers=_HEADERS)

    async def _readyz(self, request: Request) -> Response:  # noqa: ARG002
        """Calls are welcome."""
        ready = self.state is State.READY
        return PlainTextResponse(f"{self.state.value}\n", 200 if ready else 503, headers=_HEADERS)


async def _exposed(reading: Reading | None, accept: str) -> tuple[bytes, str]:
    if reading is None or len(reading.features) <= _MOST_FEATURES_AT_ONCE:
        return expose(reading, accept)
    return await trio.to_thread.run_sync(expose, reading, accept)


def _route(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    return Route(path, endpoint, methods=["GET"])

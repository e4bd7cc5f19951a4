"""An HTTP proxy in front of a fake AWS that makes things go wrong, as they do at the real one.

    with MotoServer() as moto, FaultyProxy(moto.url) as proxy:
        proxy.inject(SLOW_DOWN, operation="PutObject", times=20)
        ...  # AWS_ENDPOINT_URL=proxy.url
        assert proxy.count(operation="PutObject") == 21

Threads and blocking sockets of the standard library: it works beside any event loop, and in none.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from hushar.testing.exchanges import Request, request_from
from hushar.testing.faults import Fault
from hushar.testing.proxying import ProxyServer

LOOK_SECONDS: Final = 0.02
"""How often the accepting thread looks whether it shall stop."""


@dataclass(slots=True, eq=False)
class Rule:
    """A fault, and which requests it happens to. As a context manager it ends with its block."""

    fault: Fault
    operation: str | None
    key: str | None
    service: str | None
    when: Callable[[Request], bool] | None
    skip: int
    times: int | None
    until: float | None
    """By the proxy's clock."""
    matched: int = 0
    """Requests so far that it is about, also those that it let pass."""
    hits: int = 0
    """Requests so far that the fault happened to."""
    stopped: bool = False

    def takes(self, request: Request, now: float) -> bool:
        """Whether the fault happens to this request, which is counted."""
        if self.stopped or (self.until is not None and now >= self.until):
            return False
        if not self._is_about(request):
            return False
        self.matched += 1
        if self.matched <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True

    def _is_about(self, request: Request) -> bool:
        return (
            self.operation in (None, request.operation)
            and self.service in (None, request.service)
            and (self.key is None or fnmatchcase(request.key, self.key))
            and (self.when is None or self.when(request))
        )

    def stop(self) -> None:
        """From now on nothing happens."""
        self.stopped = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class FaultyProxy:
    """A server on 127.0.0.1 that forwards to `upstream` what no rule says otherwise about.

    It serves inside its block only. `url` stays the same, also when connections are refused for a while.
    """

    def __init__(self, upstream: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`upstream`: `http://HOST:PORT`. `clock`, in seconds, times rules. Raises ValueError."""
        parts = urlsplit(upstream)
        if parts.scheme != "http" or not parts.hostname or not parts.port:
            raise ValueError(f"{upstream!r} is not http://HOST:PORT")
        self.upstream: Final = (parts.hostname, parts.port)
        self.requests: list[Request] = []
        """Every request that has arrived, whatever was done with it."""
        self._clock = clock
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._port = 0
        self._server: ProxyServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._port}"

    def inject(
        self,
        fault: Fault,
        *,
        operation: str | None = None,
        key: str | None = None,
        service: str | None = None,
        when: Callable[[Request], bool] | None = None,
        skip: int = 0,
        times: int | None = None,
        seconds: float | None = None,
    ) -> Rule:
        """From now on this happens to the requests that all conditions hold for.

        Args:
            fault: what happens.
            operation: name of the API call, `PutObject`.
            key: an `fnmatch` pattern for the key of the object.
            service: `s3`, `monitoring`, `kinesis`.
            when: any other condition.
            skip: so many of those requests pass before it begins.
            times: to so many requests, then no more; None: to all.
            seconds: for so long; None: until `stop` or `clear`.

        Of several rules that are about a request the one that was added first acts.
        """
        until = None if seconds is None else self._clock() + seconds
        rule = Rule(fault, operation, key, service, when, skip, times, until)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            for rule in self._rules:
                rule.stop()
            self._rules.clear()

    def count(self, *, operation: str | None = None, key: str | None = None) -> int:
        """How many requests have arrived, of that operation and for keys that match that pattern."""
        with self._lock:
            return sum(
                operation in (None, request.operation) and (key is None or fnmatchcase(request.key, key))
                for request in self.requests
            )

    def arrived(
        self, method: str, target: str, headers: Mapping[str, str], form: bytes
    ) -> tuple[Request, Fault | None]:
        """Note a request, and decide what happens to it: for the proxy's own threads."""
        with self._lock:
            request = request_from(len(self.requests) + 1, method, target, headers, form)
            self.requests.append(request)
            rule = next((rule for rule in self._rules if rule.takes(request, self._clock())), None)
        return request, None if rule is None else rule.fault

    def refuse_connections(self) -> None:
        """Close the port and every connection: nobody is there, until `accept_connections`."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is None or thread is None:
            return
        server.shutdown()
        server.server_close()
        server.close_connections()
        thread.join()

    def accept_connections(self) -> None:
        """Open the port (again)."""
        if self._server is not None:
            return
        self._server = ProxyServer(self._port, self.upstream, self.arrived, self._closed)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(LOOK_SECONDS,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        self.accept_connections()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed.set()
        self.refuse_connections()

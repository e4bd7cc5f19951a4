"""Who a request may be meant for, where the port is on the loopback address and asks nobody who they are.

A page in a browser on this machine can have its own name point to 127.0.0.1 once it is loaded ("DNS
rebinding"): to the browser everything here is then the page's to read. Its requests have that name as Host.
"""

import ipaddress
import re
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_HOST: Final = re.compile(rb"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
_MISDIRECTED: Final = 421
"""RFC 9110, section 15.5.20."""
_TEXT: Final = b"this port is for those who call it localhost, or by an address\n"


class LocalHosts:
    """An ASGI app around another one, which gets only the requests to an address or to localhost."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        # Without any (HTTP/1.0) it comes from no browser.
        if all(map(is_local, hosts)):
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(_TEXT))]
        await send({"type": "http.response.start", "status": _MISDIRECTED, "headers": headers})
        await send({"type": "http.response.body", "body": _TEXT})


def is_local(host: bytes) -> bool:
    """Whether a Host, with or without a port, is an address or localhost: names that nobody can make up."""
    found = _HOST.fullmatch(host.strip())
    if found is None:
        return False
    name = found[1].decode("latin-1").lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True

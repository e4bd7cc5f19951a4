"""The status page: one HTML document that loads nothing but /status.json."""

import base64
import functools
import hashlib
from importlib import resources
from typing import Final

_PARTS: Final = "page"


def html() -> str:
    """The document, with its style and its script inside."""
    return _document()[0]


def policy() -> str:
    """Its Content-Security-Policy: its own style and script and no others, requests to this port alone."""
    return _document()[1]


@functools.cache
def _document() -> tuple[str, str]:
    style, script = _read("page.css"), _read("page.js")
    text = _read("page.html").replace("/* page.css */", style).replace("/* page.js */", script)
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy


def _read(name: str) -> str:
    return resources.files("hushar.admin").joinpath(_PARTS, name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

"""Which scheme a path or URI has, and which local path it means. Nothing here looks at a disk.

The user names files by a plain path, by `file:///…`, or by a URI of another scheme
(`s3://bucket/key`). No scheme is judged: which can be read is known to the plugins.
"""

import os
import re
from urllib.parse import unquote_to_bytes

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FILE = re.compile(r"file:(?=/)", re.IGNORECASE)
_LOCAL_HOSTS = ("", "localhost")


def scheme_of(uri: str) -> str:
    """The scheme of a URI in lower case; "file" for `file:` URIs and for every plain path."""
    match = _SCHEME.match(uri)
    return match.group(1).lower() if match else "file"


def is_uri(text: str) -> bool:
    """Whether `text` has a scheme of its own; a plain path, relative or not, has none."""
    return bool(_SCHEME.match(text) or _FILE.match(text))


def local_path(uri: str) -> str:
    """The path that a plain path or a `file:` URI means; percent-encoding is undone in URIs only.

    Follows RFC 8089: `file:/x`, `file:///x` and `file://localhost/x` are the same. Raises ValueError
    for another host, for a `file:` URI without a path, and for another scheme.
    """
    if not is_uri(uri):
        return uri
    if scheme_of(uri) != "file":
        raise ValueError(f"expected a local path, got {uri}")
    rest = uri[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in _LOCAL_HOSTS:
            raise ValueError(f"{host!r} is read as a host; a file URI has three slashes, file:///path")
        rest = slash + path
    if not rest:
        raise ValueError("a file URI needs a path, such as file:///path")
    return os.fsdecode(unquote_to_bytes(rest.encode("utf-8", "surrogateescape")))

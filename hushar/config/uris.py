"""Paths and URIs as text: their scheme, their local path, and what a relative one means.

A configuration names files by a plain path, by `file:///…`, or by a URI of another scheme
(`s3://bucket/key`). Nothing here looks at a disk or a network, and no scheme is judged: which
schemes can be read is known to the plugins.
"""

import os
import re
from pathlib import PurePosixPath
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

    Follows RFC 8089: the host is empty or `localhost`. Raises ValueError for another host, for a
    `file:` URI without a path, and for another scheme.
    """
    if not is_uri(uri):
        return uri
    if scheme_of(uri) != "file":
        raise ValueError(f"expected a local path, got {uri}")
    rest = uri[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in _LOCAL_HOSTS:
            raise ValueError(f"a file URI has three slashes before its absolute path, got {uri}")
        rest = slash + path
    if not rest:
        raise ValueError(f"a file URI needs a path, got {uri}")
    return os.fsdecode(unquote_to_bytes(rest.encode("utf-8", "surrogateescape")))


def base_of(uri: str, directory: str) -> str:
    """What relative paths inside the document at `uri` are relative to.

    An absolute directory for a local document (`directory` is the absolute working directory that a
    relative `uri` starts from), else the URI up to and including its last slash. Raises ValueError
    for a malformed `file:` URI.
    """
    if scheme_of(uri) == "file":
        return str(PurePosixPath(directory, local_path(uri)).parent)
    return uri[: uri.rindex("/") + 1]


def resolve_uri(value: str, base: str) -> str:
    """An absolute path or URI from one that may be relative to `base` (see `base_of`).

    `..` is kept in local paths, where a symbolic link decides what it means, and is applied in URIs.
    Raises ValueError for what cannot be meant: a malformed `file:` URI, a NUL character, a `..` that
    leads out of the bucket.
    """
    if "\0" in value:
        raise ValueError("a path holds no NUL character")
    if is_uri(value):
        if scheme_of(value) == "file" and "\0" in local_path(value):
            raise ValueError("a path holds no NUL character")
        return value
    if value.startswith("/") or not is_uri(base):
        return str(PurePosixPath(base, value))
    return _sibling(value, base)


def resolve_local(value: str, base: str) -> str:
    """An absolute local path, as `resolve_uri`, for what only a local disk can hold.

    Raises ValueError in addition for another scheme, and for a relative path where `base` is no local
    directory.
    """
    resolved = resolve_uri(value, base)
    if is_uri(base) and not is_uri(value) and not value.startswith("/"):
        raise ValueError(f"must be absolute, because the configuration is at {scheme_of(base)}://")
    return local_path(resolved)


def _sibling(value: str, base: str) -> str:
    """`value` relative to the folder `base`, a URI that ends in a slash."""
    scheme, _, rest = base.partition("://")
    authority, *folders, _ = rest.split("/")
    *inner, last = value.split("/")
    if last in (".", ".."):
        inner, last = [*inner, last], ""
    for part in inner:
        if part == "..":
            if not folders:
                raise ValueError(f"{value} leads out of {scheme}://{authority}")
            folders.pop()
        elif part not in ("", "."):
            folders.append(part)
    return f"{scheme}://" + "/".join([authority, *folders, last])

"""What a relative path or URI in a configuration means. Nothing here looks at a disk or a network."""

from pathlib import PurePosixPath

from hushar.uris import is_uri, local_path, scheme_of


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

"""What commands that call a server read from files: a token, certificates, rows."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hushar.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    import ssl

_COMMENT: Final = re.compile(r"(^|\s)#.*")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


def bytes_of(file: str) -> bytes:
    """A file's content, or standard input's for `-`. Raises ConfigurationError."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise mistake(file, f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise mistake(file, f"cannot be read: {error}") from error


def token_in(file: str) -> str:
    """The first token of a file, written as the server's `auth.token_file` is. Raises ConfigurationError."""
    try:
        text = bytes_of(file).decode()
    except UnicodeDecodeError as error:
        raise mistake(file, f"not UTF-8 text: byte {error.start}") from error
    for line in text.splitlines():
        token = _COMMENT.sub("", line).strip()
        if _TOKEN.fullmatch(token):
            return token
        if token:
            # Never shown: it may be a secret that was written in a wrong way.
            raise mistake(file, "a token is printable ASCII without blanks")
    raise mistake(file, "holds no token")


def tls(ca_file: str | None) -> "ssl.SSLContext":
    """TLS with the authorities in a PEM file, or the system's. Raises ConfigurationError."""
    from hushar.client import tls_context  # noqa: PLC0415 - keeps `hushar --help` fast

    try:
        return tls_context(ca_file)
    except OSError as error:
        raise mistake(str(ca_file), f"no certificates can be read: {error.strerror or error}") from error


def mistake(source: str, message: str, key: str = "") -> ConfigurationError:
    """The user's, at a file or an option."""
    return ConfigurationError([Problem(source, key, message)])

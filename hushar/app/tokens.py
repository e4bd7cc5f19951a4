"""Bearer tokens: who has one of the file `auth.token_file` may call.

A call brings `authorization: Bearer TOKEN` (RFC 6750). A token is looked up by a digest with a key that
nobody outside knows, so that how long it takes says nothing about the tokens, however many there are.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import purerpc

from hushar.errors import ConfigurationError, Problem
from hushar.rpc import Request

KEY: Final = "auth.token_file"

_COMMENT: Final = re.compile(r"(^|\s)#.*")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_NONE_OR_TWO: Final = "needs one authorization field: Bearer TOKEN"
_UNKNOWN: Final = "the token is not known"


def read_tokens(path: str) -> frozenset[str]:
    """The tokens of a file, one a line; `#` at the start of a line or after a blank begins a comment.

    Blocks. Raises ConfigurationError, whose problems name the key and the line but never a token, for a
    file that cannot be read, that holds none, or that holds something else.
    """
    try:
        lines = Path(path).read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise _unfit(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _unfit(f"{path} is not UTF-8") from error
    tokens = set()
    for number, line in enumerate(lines, 1):
        token = _COMMENT.sub("", line).strip()
        if token and not _TOKEN.fullmatch(token):
            raise _unfit(f"{path}, line {number}: a token is printable ASCII without blanks")
        if token:
            tokens.add(token)
    if not tokens:
        raise _unfit(f"{path} holds no token: nobody could call")
    return frozenset(tokens)


def _unfit(message: str) -> ConfigurationError:
    return ConfigurationError([Problem("", KEY, message)])


class Tokens:
    """A hook before every call: only who brings a token is let in, but for some services."""

    def __init__(self, tokens: Iterable[str], exempt: Collection[str]) -> None:
        self._exempt = frozenset(exempt)
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, bytes] = {}
        self.replace(tokens)

    def replace(self, tokens: Iterable[str]) -> None:
        """From now on these are the tokens, also on connections that are open."""
        encoded = [token.encode() for token in tokens]
        self._known = {self._digest(token): token for token in encoded}

    def _digest(self, token: bytes) -> bytes:
        return hashlib.blake2b(token, key=self._secret, digest_size=32).digest()

    def __call__(self, request: Request) -> None:
        """Raises RpcFailedError: UNAUTHENTICATED."""
        if request.service_name in self._exempt:
            return
        found = [value for name, value in request.custom_metadata if name == "authorization"]
        if len(found) != 1:
            raise _refused(_NONE_OR_TWO)
        scheme, _, given = str(found[0]).partition(" ")
        token = given.strip().encode()
        if scheme.lower() != "bearer" or not token:
            raise _refused(_NONE_OR_TWO)
        known = self._known.get(self._digest(token), b"")
        if not hmac.compare_digest(known, token):
            raise _refused(_UNKNOWN)


def _refused(text: str) -> Exception:
    refused: Exception = purerpc.RpcFailedError(purerpc.Status(purerpc.StatusCode.UNAUTHENTICATED, text))
    return refused

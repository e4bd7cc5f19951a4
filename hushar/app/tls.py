"""TLS of the gRPC port: a context from the files of section `tls`, and which clients it lets in."""

import ssl
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

import purerpc

from hushar.config.transport import TlsSection
from hushar.errors import ConfigurationError, Problem
from hushar.rpc import Request

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: those that HTTP/2 does not forbid (RFC 9113, 9.2.2); 1.3 has no others."""
_NAMES: Final = frozenset(("DNS", "URI", "IP Address", "email"))
"""Kinds of subject alternative names, as `SSLSocket.getpeercert` calls them."""


def files_of(tls: TlsSection) -> dict[str, str]:
    """Key → path of the files that TLS is made of; none without TLS."""
    paths = {
        "tls.certificate": tls.certificate,
        "tls.key": tls.key,
        "tls.client_ca": tls.client_ca,
    }
    return {key: path for key, path in paths.items() if path is not None}


def make_context(tls: TlsSection) -> ssl.SSLContext:
    """What the files say, which must be given. Blocks.

    Raises ConfigurationError, whose problems name the keys, for files that cannot be read or used.
    """
    problems = [problem for key, path in files_of(tls).items() for problem in _unreadable(key, path)]
    if problems:
        raise ConfigurationError(problems)
    assert tls.certificate is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION  # RFC 9113, 9.2.1
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
    except (ssl.SSLError, OSError) as error:
        message = f"{tls.certificate} and {tls.key} cannot be used: {_reason(error)}"
        problems.append(Problem("", "tls.certificate", message))
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(tls.client_ca)
        except (ssl.SSLError, OSError) as error:
            message = f"{tls.client_ca} cannot be used: {_reason(error)}"
            problems.append(Problem("", "tls.client_ca", message))
        context.verify_mode = ssl.CERT_REQUIRED
    if problems:
        raise ConfigurationError(problems)
    return context


def _unreadable(key: str, path: str) -> Iterator[Problem]:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        yield Problem("", key, f"cannot read {path}: {error.strerror}")


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)


def _no_passphrase() -> NoReturn:
    """Instead of OpenSSL's question on the terminal."""
    raise OSError("the key is encrypted, which nobody can decrypt at start")


class NamedClients:
    """A hook before every call: only clients whose certificate has one of some names are let in.

    A name is compared as a whole, and as it stands in the certificate: a wildcard there lets nobody in.
    Only the case of DNS names does not matter.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._folded = frozenset(name.casefold() for name in names)

    def __call__(self, request: Request) -> None:
        """Raises RpcFailedError."""
        # As SSLSocket.getpeercert has it.
        certificate: Any = request.peer_certificate or {}
        for kind, name in certificate.get("subjectAltName", ()):
            if kind in _NAMES and name in self._names:
                return
            if kind == "DNS" and name.casefold() in self._folded:
                return
        text = "the client's certificate has none of the names that are let in"
        raise purerpc.RpcFailedError(purerpc.Status(purerpc.StatusCode.PERMISSION_DENIED, text))

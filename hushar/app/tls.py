"""TLS of the gRPC port: a context from the files of section `tls`, and which clients it lets in."""

import ssl
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import purerpc

from hushar.app.validity import Validity, validity_of
from hushar.config.transport import TlsSection
from hushar.errors import ConfigurationError, Problem
from hushar.rpc import Request

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: those that HTTP/2 does not forbid (RFC 9113, 9.2.2); 1.3 has no others."""
_NAMES: Final = frozenset(("DNS", "URI", "IP Address", "email"))
"""Kinds of subject alternative names, as `SSLSocket.getpeercert` calls them."""
_WORDS: Final = {
    "KEY_VALUES_MISMATCH": "the key (tls.key) does not fit the certificate (KEY_VALUES_MISMATCH)",
    "KEY_TYPE_MISMATCH": "the key (tls.key) does not fit the certificate (KEY_TYPE_MISMATCH)",
}
"""OpenSSL's reasons that say little to whoever reads them."""


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

    Raises ConfigurationError, whose problems name the keys, for files that cannot be read or used: also
    for a certificate that is not valid now, which every client would refuse.
    """
    problems = [problem for key, path in files_of(tls).items() for problem in _unreadable(key, path)]
    if problems:
        raise ConfigurationError(problems)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION  # RFC 9113, 9.2.1
    context.set_alpn_protocols(["h2"])
    problems += _load_certificate(context, tls)
    problems += _load_authorities(context, tls)
    if problems:
        raise ConfigurationError(problems)
    return context


def _load_certificate(context: ssl.SSLContext, tls: TlsSection) -> Iterator[Problem]:
    """Load the server's own, with its key; what is wrong with them."""
    assert tls.certificate is not None
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
    except (ssl.SSLError, OSError) as error:
        message = f"{tls.certificate} and {tls.key} cannot be used: {_reason(error)}"
        yield Problem("", "tls.certificate", message)
        return
    wrong = _not_valid(tls.certificate)
    if wrong is not None:
        yield Problem("", "tls.certificate", f"{tls.certificate} {wrong}")


def _not_valid(path: str) -> str | None:
    """Why the certificate in a file, which OpenSSL has accepted, is not valid now."""
    try:
        validity = validity_of(Path(path).read_text(encoding="latin-1"))
    except (OSError, ValueError):
        # Whatever form OpenSSL has accepted there: its times are for clients to judge.
        return None
    return validity.problem(datetime.now(UTC))


def _load_authorities(context: ssl.SSLContext, tls: TlsSection) -> Iterator[Problem]:
    """Load those of the clients' certificates, if any; what is wrong with them."""
    if tls.client_ca is None:
        return
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(tls.client_ca)
    except (ssl.SSLError, OSError) as error:
        yield Problem("", "tls.client_ca", f"{tls.client_ca} cannot be used: {_reason(error)}")
        return
    now = datetime.now(UTC)
    wrong = [_validity(authority).problem(now) for authority in context.get_ca_certs()]
    if wrong and None not in wrong:
        yield Problem("", "tls.client_ca", f"{tls.client_ca} {wrong[0]}: no client would be let in")


def _validity(authority: Any) -> Validity:
    """Of an authority as `SSLContext.get_ca_certs` has it."""
    begins, ends = (ssl.cert_time_to_seconds(authority[name]) for name in ("notBefore", "notAfter"))
    return Validity(datetime.fromtimestamp(begins, UTC), datetime.fromtimestamp(ends, UTC))


def _unreadable(key: str, path: str) -> Iterator[Problem]:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        yield Problem("", key, f"cannot read {path}: {error.strerror}")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error)
    return _WORDS.get(reason, reason)


def _no_passphrase() -> NoReturn:
    """Instead of OpenSSL's question on the terminal."""
    raise OSError("the key is encrypted, which nobody can decrypt at start (tls.key)")


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

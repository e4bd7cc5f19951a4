"""From when until when a certificate in PEM is valid.

Python's ssl tells that of a peer's certificate and of authorities, not of the one that it shows itself; so
the two times are read out of its DER, where X.509 has fixed their place (RFC 5280, section 4.1).
"""

import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_LABEL: Final = r"(?:X509 |TRUSTED )?CERTIFICATE-----"
_CERTIFICATE: Final = re.compile(f"-----BEGIN {_LABEL}(.*?)-----END {_LABEL}", re.DOTALL)
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

# Tags of ASN.1.
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18


@dataclass(frozen=True, slots=True)
class Validity:
    """Both ends belong to it; times in UTC."""

    begins: datetime
    ends: datetime

    def problem(self, now: datetime) -> str | None:
        """Why a certificate is not valid at a time; None if it is."""
        if now > self.ends:
            return f"expired at {self.ends:%Y-%m-%d %H:%M:%S} UTC"
        if now < self.begins:
            return f"is not valid before {self.begins:%Y-%m-%d %H:%M:%S} UTC"
        return None


def validity_of(pem: str) -> Validity:
    """Of the first certificate in a file, which is the one that a server shows for itself.

    Raises ValueError where there is none, or one whose times cannot be read.
    """
    found = _CERTIFICATE.search(pem)
    if found is None:
        raise ValueError("no certificate in it")
    try:
        certificate = _value(ssl.PEM_cert_to_DER_cert(f"{_BEGIN}{found[1]}{_END}"), 0)
        content = _value(certificate, 0)
        at = _after(content, 0) if content[:1] == bytes((_VERSION,)) else 0
        for _ in ("serial number", "signature algorithm", "issuer"):
            at = _after(content, at)
        times = _value(content, at)
        return Validity(_time(times, 0), _time(times, _after(times, 0)))
    except IndexError:
        raise ValueError("it is cut short") from None


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """(tag, start of the value, its end) of what begins at `at`. Raises ValueError, IndexError."""
    tag, length = data[at], data[at + 1]
    start = at + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[start : start + size], "big")
        start += size
    if start + length > len(data):
        raise ValueError("it is cut short")
    return tag, start, start + length


def _value(data: bytes, at: int) -> bytes:
    """The value of the sequence that begins at `at`. Raises ValueError where there is none."""
    tag, start, end = _element(data, at)
    if tag != _SEQUENCE:
        raise ValueError("it is no X.509")
    return data[start:end]


def _after(data: bytes, at: int) -> int:
    """Where what begins at `at` ends."""
    return _element(data, at)[2]


def _time(data: bytes, at: int) -> datetime:
    """A UTCTime (two digits of a year: 1950 to 2049) or a GeneralizedTime."""
    tag, start, end = _element(data, at)
    text = data[start:end].decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("it is no X.509")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)

"""Taking secrets out of texts that others have written, before they are logged.

Sinks put no secrets into their errors; but the texts of libraries are theirs, and an address with a
signature, or a header, is soon in one.
"""

import re
from typing import Final

_HIDDEN: Final = "[…]"
_NAMES: Final = (
    r"x-amz-(?:signature|credential|security-token)|(?:proxy-)?authorization|aws_?secret_?access_?key"
    r"|aws_?session_?token|session_?token|secret_?(?:access_?)?key|access_?token|api_?key|password|passwd|signature"
)
_VALUE: Final = r"""(?:(?:bearer|basic|aws4-hmac-sha256)\s+[^'"\r\n]+|[^\s'"&,;)}\]]+)"""
_PATTERNS: Final = (
    # `Authorization: Bearer x`, `X-Amz-Signature=x&`, `'SessionToken': 'x'`, `b'authorization', b'x'`
    re.compile(rf"""((?:{_NAMES})['"]?\s*[:=,]\s*(?:b?['"])?){_VALUE}""", re.IGNORECASE),
    # https://user:password@host
    re.compile(r"(://)[^/\s@]+(?=@)"),
)
_KEY_ID: Final = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")


def redacted(text: str) -> str:
    """`text` without the values that look like secrets."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{_HIDDEN}", text)
    return _KEY_ID.sub(_HIDDEN, text)

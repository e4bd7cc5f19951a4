"""SigV4 by botocore, over a payload hash that is known beforehand: bodies are streamed."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
"""For S3 over TLS, which protects the body as well."""


class _SigV4(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    def payload(self, request: Any) -> str:
        return str(request.context["payload_hash"])


class _S3SigV4(S3SigV4Auth):  # type: ignore[misc]
    def payload(self, request: Any) -> str:
        return str(request.context["payload_hash"])


def payload_hash_of(body: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(body).hexdigest()


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    payload_hash: str,
    *,
    credentials: ReadOnlyCredentials,
    service: str,
    region: str,
) -> dict[str, str]:
    """`headers`, and those that make them a signed request, at this moment.

    `url` is sent as it stands: its path and its query (sorted by name) are encoded already. `service` is
    the name for signing ("s3", "monitoring", "kinesis").
    """
    request = AWSRequest(method=method, url=url, headers=dict(headers))
    request.context["payload_hash"] = payload_hash
    signer = _S3SigV4 if service == "s3" else _SigV4
    signer(credentials, service, region).add_auth(request)
    return {str(name): str(value) for name, value in request.headers.items()}

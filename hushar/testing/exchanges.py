"""Requests to AWS and answers to them, as far as a proxy between client and service has to know them.

Plain values and functions of bytes; which operation a request is can be told from its line, its headers
and, for services that speak forms, its body.
"""

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

FORM: Final = "application/x-www-form-urlencoded"
_REQUEST_ID: Final = "fa017fa017fa017f"
_RPC_PATH: Final = "/operation/"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, without its body."""

    number: int
    """From 1, in the order of arrival."""
    method: str
    target: str
    """As it stands in the request line."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body_bytes: int
    """As the headers say; 0 if they do not."""
    service: str
    """`s3`, `monitoring` (CloudWatch), `kinesis`: the name that it was signed for."""
    operation: str
    """The API's name of it: `PutObject`, `PutMetricData`, `PutRecords`; empty if it is not known."""
    bucket: str = ""
    key: str = ""
    """Of the object, decoded; only for S3."""


def request_from(
    number: int, method: str, target: str, headers: Mapping[str, str], form: bytes = b""
) -> Request:
    """`form`: the body, where the request's content type is FORM; it names the operation."""
    service = _service(headers)
    length = headers.get("content-length", "")
    size = int(length) if length.isascii() and length.isdigit() else 0
    common = (number, method, target, headers, size)
    if operation := _named_operation(target, headers, form):
        return Request(*common, service, operation)
    path, _, key = unquote(urlsplit(target).path).lstrip("/").partition("/")
    operation = s3_operation(method, target, headers, is_object=bool(key)) if service == "s3" else ""
    return Request(*common, service, operation, path, key)


def _service(headers: Mapping[str, str]) -> str:
    """From the scope of the signature: `Credential=KEY/DATE/REGION/SERVICE/aws4_request`."""
    _, _, scope = headers.get("authorization", "").partition("Credential=")
    parts = scope.partition(",")[0].split("/")
    return parts[-2] if len(parts) >= 5 else "s3"


def _named_operation(target: str, headers: Mapping[str, str], form: bytes) -> str:
    """The operation, for services that call it by its name."""
    if name := headers.get("x-amz-target", ""):
        return name.rpartition(".")[2]
    path = urlsplit(target).path
    if _RPC_PATH in path:
        return path.rpartition(_RPC_PATH)[2]
    if headers.get("content-encoding", "") == "gzip":
        try:
            form = gzip.decompress(form)
        except (OSError, EOFError, zlib.error):
            return ""
    return parse_qs(form.decode("latin-1")).get("Action", [""])[0]


def s3_operation(method: str, target: str, headers: Mapping[str, str], *, is_object: bool) -> str:
    """S3 has no names on the wire: method, sub-resource and whether there is a key make the operation."""
    query = parse_qs(urlsplit(target).query, keep_blank_values=True)
    if not is_object:
        listing = "ListObjectsV2" if "list-type" in query else "ListObjects"
        return {"GET": listing, "PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket"}.get(
            method, "DeleteObjects" if "delete" in query else ""
        )
    match method:
        case "PUT" if "partNumber" in query:
            return "UploadPart"
        case "PUT":
            return "CopyObject" if "x-amz-copy-source" in headers else "PutObject"
        case "POST":
            return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
        case "DELETE":
            return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
        case "GET":
            return "ListParts" if "uploadId" in query else "GetObject"
        case "HEAD":
            return "HeadObject"
    return ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, whole."""

    status: int
    headers: Sequence[tuple[str, str]]
    """Without `Content-Length`, except in the answer to a HEAD."""
    body: bytes
    to_head: bool = False
    """Whether it answers a HEAD: then `Content-Length` is that of the answer to a GET."""

    def head(self) -> bytes:
        """Status line and headers, as they go over the wire."""
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Unknown"
        headers = list(self.headers)
        if not self.to_head:
            headers.append(("Content-Length", str(len(self.body))))
        lines = [f"HTTP/1.1 {self.status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")

    def whole(self) -> bytes:
        """Every byte of it."""
        return self.head() + self.body


def error_answer(
    request: Request, status: int, code: str, message: str, headers: Sequence[tuple[str, str]] = ()
) -> Answer:
    """An error as the service that was asked writes it."""
    kind = request.headers.get("content-type", "")
    more = [*headers, ("x-amzn-RequestId", _REQUEST_ID), ("x-amz-request-id", _REQUEST_ID)]
    if kind.startswith("application/x-amz-json") or "json" in kind:
        body = json.dumps({"__type": code, "message": message}).encode()
        more += [("Content-Type", kind), ("x-amzn-ErrorType", code)]
    elif kind.startswith("application/cbor"):
        body = b"\xa2" + b"".join(map(_cbor_text, ("__type", code, "message", message)))
        # A client of the older form protocol knows the error by the name in this header.
        more += [("Content-Type", kind), ("smithy-protocol", "rpc-v2-cbor")]
        more.append(("x-amzn-query-error", f"{code};{'Sender' if status < 500 else 'Receiver'}"))
    else:
        error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        if request.service == "s3":
            text = f"<Error>{error}<RequestId>{_REQUEST_ID}</RequestId></Error>"
        else:
            text = (
                f"<ErrorResponse><Error>{error}</Error><RequestId>{_REQUEST_ID}</RequestId></ErrorResponse>"
            )
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
        more.append(("Content-Type", "application/xml"))
    if request.method == "HEAD":
        return Answer(status, [*more, ("Content-Length", "0")], b"", to_head=True)
    return Answer(status, more, body)


def _cbor_text(text: str) -> bytes:
    """A text string, in CBOR, with a length of two bytes."""
    data = text.encode()
    return b"\x79" + len(data).to_bytes(2, "big") + data

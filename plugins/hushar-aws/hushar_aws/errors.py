"""What AWS, or the way to it, answered instead of what was asked for, and what is to be done about it.

Which codes are transient or throttling is botocore's standard rule (botocore/retries/standard.py); what
the rest means for a segment of the log is RELIABILITY.md 4.3: nothing but a code that is known to speak of
this one object makes a segment fail for good, so that a mistake in a policy costs time, not logs.
"""

import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal
from xml.etree import ElementTree as ET

from hushar.plugins import SegmentRefused, SinkError, SinkRefused

Kind = Literal["transient", "throttled", "refused", "credentials", "invalid", "skewed"]

TRANSIENT: Final = frozenset(
    {
        "BadDigest",  # damaged on its way
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "InternalFailure",
        "InternalServiceError",
        "InternalServiceException",
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "KMSThrottlingException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
CREDENTIALS: Final = frozenset(
    {
        # A new look at the chain may mend these; if it does not, they stand for all requests.
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
SKEWED: Final = frozenset({"RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"})
INVALID: Final = frozenset(
    {
        "EntityTooLarge",
        "InvalidArgument",
        "InvalidArgumentException",
        "InvalidFormat",
        "InvalidFormatFault",
        "InvalidParameterCombination",
        "InvalidParameterCombinationException",
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "MalformedInput",
        "MissingParameter",
        "MissingRequiredParameterException",
        "RequestEntityTooLarge",
        "SerializationException",
        "ValidationError",
        "ValidationException",
    }
)
_SIGNATURES: Final = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"})
_REGIONS: Final = frozenset(
    {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "Redirect"}
    | {"TemporaryRedirect"}
)
_EXPIRED_SIGNATURE: Final = re.compile(r"signature (expired|not yet current)", re.IGNORECASE)
_MAX_MESSAGE: Final = 300
_MAX_ERROR_BYTES: Final = 64 * 1024


class AwsError(Exception):
    """A request that did not get the answer that it was sent for, after all attempts.

    `str()` is one line without secrets: "SlowDown (503): Please reduce your request rate."
    """

    def __init__(self, code: str, status: int | None, message: str, kind: Kind) -> None:
        super().__init__(code, status, message, kind)
        self.code = code
        """AWS's, or one of ours where no answer came: "Timeout", "Unreachable", "Broken", "NoCredentials"."""
        self.status = status
        self.message = message
        self.kind: Kind = kind
        self.retry_after_seconds: float | None = None
        """What the answer asked for (`x-amz-retry-after`)."""

    def __str__(self) -> str:
        head = self.code if self.status is None else f"{self.code} ({self.status})"
        return f"{head}: {self.message}" if self.message else head


def sink_error(error: AwsError) -> SinkError | SinkRefused | SegmentRefused:
    """What a log sink raises for it: tried again, tried again slowly, or counted against the segment."""
    if error.kind in ("transient", "throttled"):
        return SinkError(str(error))
    if error.kind == "invalid":
        return SegmentRefused(str(error))
    return SinkRefused(str(error))


def error_of(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    region: str = "",
    secrets: Collection[str] = (),
    now: datetime | None = None,
) -> AwsError:
    """What an answer that is no success says.

    `region` is where the request was signed for, `now` the time of this machine: what the text names
    if these are what is wrong. `secrets` are not shown: AWS quotes what was signed, a session's token too.
    """
    # Taken out before anything is cut: half a token is no longer found.
    code, message, there = (_without(secrets, text) for text in _said(headers, body[:_MAX_ERROR_BYTES]))
    # "com.amazonaws.kinesis#Code:http://…" is Code.
    code = re.sub(r"[^\w.-]", "", code.partition(":")[0].rpartition("#")[2])[:100]
    code = code or _code_of_status(status)
    message = one_line(message)
    kind = kind_of(status, code, message)
    if kind == "skewed":
        message = f"{message} {_skew(headers, now or datetime.now(UTC))}".strip()
    if code in _REGIONS or 300 <= status < 400:
        message = _wrong_region(headers.get("x-amz-bucket-region") or there, region, message)
    error = AwsError(code, status, message, kind)
    error.retry_after_seconds = _retry_after(headers)
    return error


def kind_of(status: int | None, code: str, message: str = "") -> Kind:
    """The one table from an answer to what is to be done about it."""
    tables: tuple[tuple[frozenset[str], Kind], ...] = (
        (THROTTLED, "throttled"),
        (TRANSIENT, "transient"),
        (CREDENTIALS, "credentials"),
        (SKEWED, "skewed"),
        (INVALID, "invalid"),
    )
    for codes, kind in tables:
        if code in codes:
            return kind
    if code in _SIGNATURES and _EXPIRED_SIGNATURE.search(message):
        return "skewed"
    if status == 429:
        return "throttled"
    if status == 413:
        return "invalid"
    if status is None or status == 408 or status >= 500 or status < 300:
        # Below 300: a success that does not hold what it should.
        return "transient"
    return "refused"


def _code_of_status(status: int) -> str:
    names = {301: "PermanentRedirect", 307: "TemporaryRedirect", 403: "AccessDenied", 404: "NotFound"}
    return names.get(status, f"HTTP{status}")


def _said(headers: Mapping[str, str], body: bytes) -> tuple[str, str, str]:
    """Code, message and region, by XML (S3, the query protocol), JSON or headers alone; empty if not said."""
    code = headers.get("x-amzn-query-error", "").partition(";")[0] or headers.get("x-amzn-errortype", "")
    message = region = ""
    text = body.lstrip()
    if text.startswith(b"<"):
        found, message, region = _of_xml(text)
        code = found or code
    elif text.startswith(b"{"):
        found, message = _of_json(text)
        code = code or found
    return code, message, region


def _without(secrets: Collection[str], text: str) -> str:
    for secret in secrets:
        # Real ones have sixteen characters and more; a short one may be part of any word.
        if len(secret) >= 8:
            text = text.replace(secret, "…")
    return text


def _of_xml(text: bytes) -> tuple[str, str, str]:
    root = parse_xml(text)
    error = None if root is None else root if root.tag == "Error" else root.find(".//Error")
    if error is None:
        return "", "", ""
    return error.findtext("Code") or "", error.findtext("Message") or "", error.findtext("Region") or ""


def _of_json(text: bytes) -> tuple[str, str]:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    code = found.get("__type") or found.get("code") or found.get("Code") or ""
    message = found.get("message") or found.get("Message") or ""
    return str(code), str(message)


def parse_xml(text: bytes) -> ET.Element | None:
    """The root of an XML text with all name spaces taken off; None if it is none, or has a DTD.

    S3 sends blanks while it is busy, also before the declaration. It writes UTF-8; in another encoding a
    DTD could not be seen.
    """
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        return None
    try:
        root = ET.fromstring(text.decode().strip())  # noqa: S314 - no DTD, so no entity that could grow
    except (UnicodeDecodeError, ET.ParseError):
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def one_line(text: str) -> str:
    """Foreign text in a line of ours: no control characters, of bounded length."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()[:_MAX_MESSAGE]


def _skew(headers: Mapping[str, str], now: datetime) -> str:
    try:
        there = parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return "(the answer has no Date to compare this machine's clock with)"
    if there.tzinfo is None:
        there = there.replace(tzinfo=UTC)
    seconds = (now - there).total_seconds()
    return f"(this machine's clock is {abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'})"


def _wrong_region(there: str, here: str, message: str) -> str:
    if there and there != here:
        return f"the bucket is in {one_line(there)}, the requests go to {here}; set plugins.aws.region"
    return f"{message} (the bucket is in another region than {here}? see plugins.aws.region)".strip()


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """`x-amz-retry-after` is in milliseconds."""
    text = headers.get("x-amz-retry-after", "")
    return int(text) / 1000 if re.fullmatch(r"[0-9]{1,9}", text) else None

"""`s3://bucket/key`: what it names, and what is wrong with it. Nothing here asks anybody."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

_URI: Final = re.compile(r"s3://([^/]*)/?(.*)", re.IGNORECASE | re.DOTALL)
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
MAX_KEY_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Location:
    """A bucket, and a key or a prefix in it, empty for the bucket as a whole. `%20` in it means `%20`."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}" if self.key else f"s3://{self.bucket}"


def locate(uri: str, *, max_key_bytes: int = MAX_KEY_BYTES) -> Location:
    """What the URI names. Raises ValueError, whose text says what is wrong with it."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise ValueError(f"expected s3://bucket/key, got {uri}")
    bucket, key = match.groups()
    if not bucket:
        raise ValueError(f"expected s3://bucket/key, got {uri}: no bucket")
    if (mistake := _mistake_in_bucket(bucket)) is not None:
        raise ValueError(f"{bucket!r} is not the name of a bucket: {mistake}")
    if _CONTROL.search(key):
        raise ValueError(f"expected s3://bucket/key without control characters, got {uri!r}")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError(f"expected s3://bucket/key in UTF-8, got {uri!r}") from None
    if size > max_key_bytes:
        raise ValueError(f"what follows the bucket has more than {max_key_bytes} bytes")
    return Location(bucket, key)


def _mistake_in_bucket(bucket: str) -> str | None:
    """By https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html."""
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        return "3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit first and last"
    if bucket.endswith("--x-s3"):
        return "directory buckets (S3 Express) are not supported"
    try:
        ipaddress.IPv4Address(bucket)
    except ValueError:
        return None
    return "it is an IP address"

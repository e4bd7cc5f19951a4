"""The storage `s3`: models, configurations and logs are read from `s3://bucket/key`."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from random import Random
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

import trio

from hushar.plugins import Blob, Entry, PluginContext, Storage, StorageError
from hushar_aws.checksums import CHECKED, checksum_of
from hushar_aws.client import AwsClient, Response
from hushar_aws.errors import AwsError, parse_xml
from hushar_aws.s3_uris import Location, locate
from hushar_aws.settings import AwsSettings


def s3_storage(context: PluginContext) -> "S3Storage":
    """The factory; no I/O. The configuration itself is read without settings: by the standard chain."""
    return S3Storage(context.settings or AwsSettings())


class S3Storage(Storage):
    """Reads objects, each whole, and lists them."""

    def __init__(self, settings: AwsSettings, *, random: Random | None = None) -> None:
        """`random`: draws the delays between attempts."""
        self._settings = settings
        self._random = random
        self._clients: dict[str, AwsClient] = {}

    async def read(self, uri: str) -> Blob:
        """The object as it was put, with its version id, or its ETag, as `version`. Raises StorageError."""
        location = _locate(uri)
        if not location.key:
            raise StorageError(f"cannot read {uri}: it names a bucket, and no object in it")
        try:
            response = await self._client(location.bucket).request(
                "GET", f"/{location.key}", headers={"x-amz-checksum-mode": "ENABLED"}
            )
        except AwsError as error:
            raise StorageError(f"cannot read {uri}: {_reason(error)}") from error
        if await trio.to_thread.run_sync(_is_damaged, response, abandon_on_cancel=True):
            raise StorageError(f"cannot read {uri}: what arrived does not fit its checksum")
        return Blob(uri=uri, data=response.body, version=_version(response.headers))

    async def entries(self, uri: str, *, after: str | None = None) -> AsyncGenerator[Entry, None]:
        """Every object at `uri` and below it; see Storage. Raises StorageError in the iteration."""
        location = _locate(uri)
        base = f"s3://{location.bucket}/"
        start = _start(base, after)
        if start is None:
            return
        folder = location.key
        if folder and not folder.endswith("/"):
            if not start or folder.encode() > start.encode():
                # Where there is such an object, it is the first of all that begin with its name.
                query = {"max-keys": "1"}
                async with aclosing(self._listed(uri, location.bucket, folder, query)) as listed:
                    first = await anext(listed, None)
                if first is not None and first.uri == base + folder:
                    yield first
            folder += "/"
        query = {"start-after": start} if start else {}
        async with aclosing(self._listed(uri, location.bucket, folder, query)) as listed:
            async for entry in listed:
                if not (entry.uri.endswith("/") and entry.size_bytes == 0):  # what consoles make of a folder
                    yield entry

    async def _listed(
        self, uri: str, bucket: str, prefix: str, query: Mapping[str, str]
    ) -> AsyncGenerator[Entry, None]:
        asked = {"list-type": "2", "encoding-type": "url", "prefix": prefix, **query}
        while True:
            try:
                response = await self._client(bucket).request("GET", "/", query=asked)
            except AwsError as error:
                raise StorageError(f"cannot list {uri}: {error}") from error
            root = parse_xml(response.body)
            if root is None or root.tag != "ListBucketResult":
                raise StorageError(f"cannot list {uri}: the answer is no list of objects")
            for found in root.iter("Contents"):
                yield _entry(bucket, found)
            token = root.findtext("NextContinuationToken")
            if root.findtext("IsTruncated") != "true" or not token:
                return
            asked = {**asked, "continuation-token": token}

    def _client(self, bucket: str) -> AwsClient:
        if bucket not in self._clients:
            self._clients[bucket] = AwsClient(self._settings, "s3", bucket=bucket, random=self._random)
        return self._clients[bucket]

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()


def _locate(uri: str) -> Location:
    try:
        return locate(uri)
    except ValueError as error:
        raise StorageError(f"cannot read {uri}: {error}") from None


def _start(base: str, after: str | None) -> str | None:
    """The key after which to begin, empty for all; None if nothing of the bucket comes after `after`."""
    if after is None or after.encode() < base.encode():
        return ""
    return after[len(base) :] if after.startswith(base) else None


def _entry(bucket: str, found: ET.Element) -> Entry:
    key = unquote_plus(found.findtext("Key") or "")  # S3 encodes as forms do: a blank is "+"
    size = found.findtext("Size") or ""
    return Entry(f"s3://{bucket}/{key}", int(size) if re.fullmatch("[0-9]{1,18}", size) else 0)


def _version(headers: Mapping[str, str]) -> str | None:
    version = headers.get("x-amz-version-id")
    # A bucket without versioning has objects of the version "null".
    if version and version != "null":
        return version
    return headers.get("etag", "").strip('"') or None


def _is_damaged(response: Response) -> bool:
    """Whether the bytes are not those of the checksum that S3 has of the whole object, if it has one.

    Takes a while for a large model: call it in a thread.
    """
    for algorithm in CHECKED:
        stated = response.headers.get(f"x-amz-checksum-{algorithm}", "")
        # A checksum of checksums, of an upload in parts, ends in their number.
        if stated and "-" not in stated:
            return checksum_of(response.body, algorithm) != stated
    return False


def _reason(error: AwsError) -> str:
    if error.code == "AccessDenied":
        return f"{error} (S3 also says so of what is not there, to those who may not list the bucket)"
    return str(error)

"""A file becomes one object in S3: by one PUT, or in parts. It is there whole or not at all."""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import trio

from hushar_aws.checksums import Algorithm, digests
from hushar_aws.client import AwsClient
from hushar_aws.errors import AwsError, parse_xml
from hushar_aws.signing import UNSIGNED_PAYLOAD

logger = logging.getLogger("hushar.aws")

CHUNK_BYTES: Final = 128 * 1024
"""What is read and sent at a time: small enough that the calls beside it do not wait for its encryption."""
MAX_PARTS: Final = 10_000
ABORT_SECONDS: Final = 2.0
"""So much longer than `log.drain_seconds` the end of the server may take."""

_ELEMENTS: Final[Mapping[str, str]] = {"crc32c": "ChecksumCRC32C", "sha256": "ChecksumSHA256"}
_GONE: Final = frozenset({"NoSuchUpload", "InvalidPart", "InvalidPartOrder"})
"""The upload is over, perhaps because its end was reached by an attempt whose answer was lost."""


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class _Uploaded:
    number: int
    etag: str
    checksum: str | None


class Uploader:
    """Uploads files to one bucket."""

    def __init__(
        self, client: AwsClient, *, part_bytes: int, algorithm: Algorithm, headers: Mapping[str, str]
    ) -> None:
        """`part_bytes`: what is larger goes in parts of this size; `headers`: of every object."""
        self._client = client
        self._part_bytes = part_bytes
        self._algorithm = algorithm
        self._headers = dict(headers)

    async def upload(self, path: Path, key: str, content_type: str) -> None:
        """Bring the file to the key, over what is there. Raises AwsError, and OSError for the file."""
        size = (await trio.Path(path).stat()).st_size
        headers = {**self._headers, "content-type": content_type}
        whole = _Part(1, 0, size)
        if size <= self._part_bytes:
            await self._send(path, whole, f"/{key}", headers=headers)
            return
        try:
            await self._upload_in_parts(path, size, f"/{key}", headers)
        except AwsError as error:
            if error.code in _GONE:
                raise AwsError(error.code, error.status, error.message, "transient") from error
            raise

    async def _send(
        self,
        path: Path,
        part: _Part,
        target: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str],
    ) -> _Uploaded:
        """PUT one range of the file."""
        # Without TLS nothing but the signature protects the bytes, with it that would be a second reading.
        signed = not (await self._client.endpoint()).is_secure
        found = await trio.to_thread.run_sync(
            partial(digests, path, part.offset, part.size, self._algorithm, signed=signed),
            abandon_on_cancel=True,
        )
        sent = {**headers, "content-length": str(part.size)}
        if found.checksum is not None:
            sent[f"x-amz-checksum-{self._algorithm}"] = found.checksum
        response = await self._client.request(
            "PUT",
            target,
            query=query,
            headers=sent,
            body=partial(_read, path, part),
            payload_hash=found.sha256 or UNSIGNED_PAYLOAD,
        )
        etag = response.headers.get("etag")
        if not etag:
            # A proxy's page, say: the file must not be given up for it.
            message = "no ETag in the answer: it is not S3's"
            raise AwsError("NoETag", response.status, message, "transient")
        return _Uploaded(part.number, etag, found.checksum)

    async def _upload_in_parts(self, path: Path, size: int, target: str, headers: Mapping[str, str]) -> None:
        upload_id = await self._begin(target, headers)
        try:
            parts = []
            for part in _parts(size, self._part_bytes):
                query = {"partNumber": str(part.number), "uploadId": upload_id}
                parts.append(await self._send(path, part, target, query=query, headers={}))
            await self._client.request(
                "POST",
                target,
                query={"uploadId": upload_id},
                headers={"content-type": "application/xml"},
                body=_manifest(parts, self._algorithm),
            )
        except BaseException:
            await self._abort(target, upload_id)
            raise

    async def _begin(self, target: str, headers: Mapping[str, str]) -> str:
        if self._algorithm != "none":
            headers = {**headers, "x-amz-checksum-algorithm": self._algorithm.upper()}
        response = await self._client.request("POST", target, query={"uploads": ""}, headers=headers)
        root = parse_xml(response.body)
        upload_id = root.findtext("UploadId") if root is not None else None
        if not upload_id:
            raise AwsError("NoUploadId", response.status, "the answer has no upload id", "transient")
        return upload_id

    async def _abort(self, target: str, upload_id: str) -> None:
        """Let go of the parts, which cost as much as an object. What fails is left to the bucket's rules."""
        with trio.move_on_after(ABORT_SECONDS, shield=True):
            try:
                await self._client.request(
                    "DELETE", target, query={"uploadId": upload_id}, expect=(200, 204, 404)
                )
            except AwsError as error:
                logger.info("aws: an upload in parts could not be taken back: %s", error)


def _parts(size: int, part_bytes: int) -> list[_Part]:
    """All of `part_bytes` but the last, which is not larger; longer ones where there would be too many."""
    length = max(part_bytes, -(-size // MAX_PARTS))
    return [
        _Part(number, offset, min(length, size - offset))
        for number, offset in enumerate(range(0, size, length), start=1)
    ]


async def _read(path: Path, part: _Part) -> AsyncGenerator[bytes, None]:
    """The bytes of the range. Where the file ends early so does this, and the request fails."""
    async with await trio.open_file(path, "rb", buffering=0) as file:
        await file.seek(part.offset)
        left = part.size
        while left and (chunk := await file.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk


def _manifest(parts: Sequence[_Uploaded], algorithm: Algorithm) -> bytes:
    root = ET.Element("CompleteMultipartUpload", xmlns="http://s3.amazonaws.com/doc/2006-03-01/")
    for part in parts:
        element = ET.SubElement(root, "Part")
        ET.SubElement(element, "PartNumber").text = str(part.number)
        ET.SubElement(element, "ETag").text = part.etag
        if part.checksum is not None:
            ET.SubElement(element, _ELEMENTS[algorithm]).text = part.checksum
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))

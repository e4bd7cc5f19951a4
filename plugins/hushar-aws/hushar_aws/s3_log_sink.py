"""The log sink `s3://bucket/prefix`: one object a segment, under the layout of CONTRACT.md 4."""

from random import Random
from typing import Final

from hushar.plugins import ConfigurationError, LogSink, PluginContext, Problem, Segment, SinkError
from hushar_aws.client import AwsClient
from hushar_aws.errors import AwsError, sink_error
from hushar_aws.s3_upload import Uploader
from hushar_aws.s3_uris import MAX_KEY_BYTES, Location, locate
from hushar_aws.settings import AwsSettings

_KEY: Final = "log.uri"
_MAX_PREFIX_BYTES: Final = MAX_KEY_BYTES - 124
"""What is left beside the layout: five folders, a uuid, a time and two suffixes."""
_CONTENT_TYPES: Final = {".gz": "application/gzip", ".zst": "application/zstd"}
_PROTOBUF: Final = "application/x-protobuf"


def s3_log_sink(uri: str, context: PluginContext) -> "S3LogSink":
    """The factory behind `log.uri`; no I/O. Raises ConfigurationError."""
    try:
        location = locate(uri, max_key_bytes=_MAX_PREFIX_BYTES)
    except ValueError as error:
        raise ConfigurationError([Problem("", _KEY, str(error))]) from None
    return S3LogSink(location, context.settings or AwsSettings())


class S3LogSink(LogSink):
    """Delivers segments to keys below a prefix; a repeated delivery overwrites its own object."""

    def __init__(self, location: Location, settings: AwsSettings, *, random: Random | None = None) -> None:
        """`random`: draws the delays between attempts."""
        self._location = Location(location.bucket, location.key.rstrip("/"))
        self._client = AwsClient(settings, "s3", bucket=location.bucket, random=random)
        self._uploader = Uploader(
            self._client,
            part_bytes=settings.s3_multipart_bytes,
            algorithm=settings.s3_checksum,
            headers=_headers(settings),
        )

    @property
    def description(self) -> str:
        """`s3://bucket/prefix`."""
        return str(self._location)

    async def check(self) -> None:
        """Raise ConfigurationError if there is no region, or no such profile. Nobody is asked."""
        await self._client.open()

    async def open(self) -> None:
        """As `check`: S3 may be down now and up later."""
        await self._client.open()

    async def deliver(self, segment: Segment) -> None:
        """Upload the file as it is. Raises SinkError, SinkRefused or SegmentRefused."""
        key = f"{self._location.key}/{segment.key}" if self._location.key else segment.key
        suffix = segment.key[segment.key.rfind(".") :]
        try:
            await self._uploader.upload(segment.path, key, _CONTENT_TYPES.get(suffix, _PROTOBUF))
        except AwsError as error:
            raise sink_error(error) from error
        except OSError as error:
            raise SinkError(f"{segment.path}: {error.strerror or error}") from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _headers(settings: AwsSettings) -> dict[str, str]:
    """Of every object; what is not set is the bucket's to say."""
    headers = {
        "x-amz-storage-class": settings.s3_storage_class,
        "x-amz-server-side-encryption": settings.s3_server_side_encryption,
        "x-amz-server-side-encryption-aws-kms-key-id": settings.s3_kms_key_id,
    }
    return {name: value for name, value in headers.items() if value is not None}

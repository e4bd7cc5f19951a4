"""The section `log` of the service configuration. For the texts under the keys see hushar.config.service."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from hushar.config.section import (
    Bytes,
    LocalPath,
    Names,
    Seconds,
    SecondsOrZero,
    Section,
    Uri,
    Workers,
    conflict,
)

MIN_SEGMENT_BYTES = 64 * 1024
"""Smaller segments would cost more in names and renames than in records."""
MAX_SEGMENT_BYTES = 2**30
"""A segment is one protobuf message, and protobuf reads none of 2 GiB; the last record may be large."""
MAX_SEGMENT_SECONDS = 86400
"""`hushar logs cat --since` skips partitions that are older by more than a day: no segment lives longer."""
LEVELS: Final[Mapping[str, tuple[Any, Any]]] = MappingProxyType({"gzip": (0, 9), "zstd": (-7, 22)})
"""Compression → its least and its highest level."""


class LogSection(Section):
    """The inference log: what was asked and answered, kept in a spool until it is delivered."""

    uri: Uri | None = None
    """Where the log goes: a directory, or a URI of a scheme that a plugin serves. None: no log."""
    workers: Workers = 1
    """Workers of the log, each with a segment of its own."""
    sample_rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    """Share of the calls that is logged, 0 to 1."""
    queue_bytes: Bytes = 64 * 2**20
    """Bytes of records that may wait in memory. Full: the new record is dropped and counted."""
    acknowledge: Literal["queued", "spooled"] = "queued"
    """When a response leaves: "queued" at once, "spooled" once its record is in the spool's file."""
    fsync: Literal["never", "interval", "segment"] = "interval"
    """When a record is forced to the disk: never, in `fsync_seconds`, or when its segment is closed."""
    fsync_seconds: Seconds = 0.5
    """How long a record may be in the spool before it is forced to the disk, with `fsync` = "interval"."""
    rotate_bytes: Annotated[int, Field(ge=MIN_SEGMENT_BYTES, le=MAX_SEGMENT_BYTES)] = 64 * 2**20
    """Bytes at which a segment is closed and delivered. At most 1 GiB: it is one protobuf message."""
    rotate_seconds: Annotated[float, Field(ge=1, le=MAX_SEGMENT_SECONDS, allow_inf_nan=False)] = 60.0
    """Seconds after which a segment is closed and delivered, if it is not full before. At most a day:
    `hushar logs cat --since` counts on it."""
    spool_dir: LocalPath | None = None
    """Directory of the spool; one server a directory. None: `.spool` in a local log directory, else a
    folder of the model id under the user's state directory."""
    spool_max_bytes: Bytes = 2 * 2**30
    """Bytes that the spool may hold. Full: the oldest closed segment is dropped and counted."""
    spool_max_age_seconds: Seconds | None = None
    """Seconds from the opening of a segment after which it is dropped and counted. None: no limit."""
    spool_min_free_bytes: Annotated[int, Field(ge=0)] = 256 * 2**20
    """Free bytes of the spool's file system below which the spool counts as full."""
    max_attempts: Annotated[int, Field(ge=1)] = 5
    """Refusals of one segment after which it is put aside in `dead-letter/`. Outages never count."""
    retry_min_seconds: Seconds = 0.2
    """Seconds: the first back-off after a failed delivery (with full jitter)."""
    retry_max_seconds: Seconds = 30.0
    """Seconds: the longest back-off."""
    refused_retry_seconds: Seconds = 60.0
    """Seconds between attempts while the sink refuses everything (credentials, no such bucket)."""
    drain_seconds: SecondsOrZero = 10.0
    """Seconds that delivering the rest may take at the end, after `server.drain_seconds`."""

    compression: Literal["none", "gzip", "zstd"] = "none"
    """How a segment is compressed before it is delivered; its name then ends in .gz or .zst."""
    compression_level: int | None = None
    """Level of the compression: gzip 0 to 9, zstd -7 to 22. None: the library's own."""
    exclude: Names = ()
    """Features that are left out of the log: names or patterns (`*`, `?`, `[…]`, as of fnmatch)."""
    hash: Names = ()
    """Features of which the log holds a keyed hash (HMAC-SHA256 in hexadecimal) instead of the value: names
    or patterns. One that `exclude` names as well is left out."""
    hash_key_file: LocalPath | None = None
    """Path of the key for `hash`: the bytes of the file without one newline at its end."""

    @field_validator("spool_max_bytes")
    @classmethod
    def _holds_a_segment(cls, spool_max_bytes: int, info: ValidationInfo) -> int:
        rotate_bytes = info.data.get("rotate_bytes", 0)
        if spool_max_bytes < rotate_bytes:
            raise conflict(
                f"log.spool_max_bytes ({spool_max_bytes}) must be at least "
                f"log.rotate_bytes ({rotate_bytes}), the size of one segment",
                "rotate_bytes",
            )
        return spool_max_bytes

    @field_validator("retry_max_seconds")
    @classmethod
    def _ascending(cls, retry_max_seconds: float, info: ValidationInfo) -> float:
        retry_min_seconds = info.data.get("retry_min_seconds", 0)
        if retry_max_seconds < retry_min_seconds:
            raise conflict(
                f"log.retry_max_seconds ({retry_max_seconds:g}) must be at least "
                f"log.retry_min_seconds ({retry_min_seconds:g})",
                "retry_min_seconds",
            )
        return retry_max_seconds

    @field_validator("compression_level")
    @classmethod
    def _known_level(cls, level: int | None, info: ValidationInfo) -> int | None:
        compression = info.data.get("compression", "none")
        least, most = LEVELS.get(compression, (level, level))
        if level is not None and not least <= level <= most:
            raise conflict(
                f'must be from {least} to {most} where log.compression is "{compression}", got {level}',
                "compression",
            )
        return level

    @field_validator("hash_key_file")
    @classmethod
    def _with_a_key(cls, hash_key_file: str | None, info: ValidationInfo) -> str | None:
        if hash_key_file is None and info.data.get("hash"):
            raise conflict("log.hash needs log.hash_key_file", "hash")
        return hash_key_file

"""Settings of the two sidecars, under the names of the sections `log` and `metrics`.

Records of this room's own: the configuration's models stay out of here, `hushar.app` converts. What a
sidecar has no use for (`uri`, `spool_dir`, `acknowledge`, …) is not in them. Values are taken as
they are; the configuration has checked them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from hushar.sidecars.segment import CLOSING_BYTES
from hushar.sinks.interface import Compression

MIB = 1024 * 1024

LEAST_SEGMENT_BYTES: Final = 64 * 1024
"""A segment that is of use: the smallest that `rotate_bytes` may ask for."""


Fsync = Literal["never", "interval", "segment"]
"""When what was appended is forced to the disk: never; in `fsync_seconds`, or sooner when a segment is
closed; only then. A power cut can lose what was not; SIGKILL cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The section `log`, as far as the sidecar is concerned. Defaults are those of the configuration."""

    workers: int = 1
    sample_rate: float = 1.0
    """Share of the calls that are logged, 0–1."""
    queue_bytes: int = 64 * MIB
    fsync: Fsync = "interval"
    fsync_seconds: float = 0.5
    rotate_bytes: int = 64 * MIB
    rotate_seconds: float = 60.0
    spool_max_bytes: int = 2048 * MIB
    spool_max_age_seconds: float | None = None
    spool_min_free_bytes: int = 256 * MIB
    max_attempts: int = 5
    retry_min_seconds: float = 0.2
    retry_max_seconds: float = 30.0
    refused_retry_seconds: float = 60.0
    drain_seconds: float = 10.0
    compression: Compression = "none"
    compression_level: int | None = None
    """None: the library's own."""

    @property
    def segment_bytes(self) -> int:
        """A segment with so many bytes is closed.

        Before the spool is full: what is open cannot be dropped, so there must be room for as many open
        segments as there are workers, and one closed.
        """
        return min(self.rotate_bytes, self.spool_max_bytes // (self.workers + 1))


def spool_problem(settings: LogSettings) -> str | None:
    """Why `spool_max_bytes` is too small for the workers that share it: a sentence, or None.

    Each has a segment open, and what is open cannot be dropped to make room.
    """
    least = settings.workers * (LEAST_SEGMENT_BYTES + CLOSING_BYTES)
    if settings.spool_max_bytes >= least:
        return None
    return (
        f"{settings.spool_max_bytes} bytes are too few: each worker has a segment of its own, of at least "
        f"{LEAST_SEGMENT_BYTES} bytes and {CLOSING_BYTES} to close it, which with log.workers = "
        f"{settings.workers} takes {least}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """The section `metrics`, as far as the sidecar is concerned."""

    workers: int = 1
    interval_seconds: float = 60.0
    queue_values: int = 100_000
    namespace: str = "HusharService"
    dimensions: Mapping[str, str] = field(default_factory=dict)
    """Those configured; `ModelId` is the sidecar's to add."""

"""The section `plugins.aws` of the configuration. No secret has a key: credentials are AWS's own chain."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MIB = 1024 * 1024
MIN_PART_BYTES = 5 * MIB
"""S3's own limit: every part but the last has at least so many bytes."""
MAX_PUT_BYTES = 5 * 1024 * MIB
"""S3's own limit for one PUT, and for one part."""

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
StorageClass = Literal[
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "GLACIER_IR",
    "DEEP_ARCHIVE",
]


class AwsSettings(BaseModel):
    """What may stand in `plugins.aws`. Endpoints are set by `AWS_ENDPOINT_URL…` only."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] | None = None
    """None: `AWS_DEFAULT_REGION`, `AWS_REGION`, then the profile's."""
    profile: Annotated[str, Field(min_length=1)] | None = None
    """A section of ~/.aws/config. None: `AWS_PROFILE`, then "default"."""
    connect_seconds: Seconds = 3.0
    read_seconds: Seconds = 10.0
    s3_storage_class: StorageClass | None = None
    """None: the bucket's."""
    s3_server_side_encryption: Literal["AES256", "aws:kms"] | None = None
    """None: the bucket's."""
    s3_kms_key_id: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,2048}$")] | None = None
    s3_multipart_bytes: Annotated[int, Field(ge=MIN_PART_BYTES, le=MAX_PUT_BYTES)] = 64 * MIB
    """Segments above are uploaded in parts of this size."""
    s3_checksum: Literal["crc32c", "sha256", "none"] = "crc32c"
    cloudwatch_high_resolution: bool = False
    kinesis_partition_key: Literal["request_id", "random", "model_id"] = "request_id"

    @model_validator(mode="after")
    def _key_needs_kms(self) -> "AwsSettings":
        if self.s3_kms_key_id is not None and self.s3_server_side_encryption != "aws:kms":
            raise ValueError('s3_kms_key_id needs s3_server_side_encryption = "aws:kms"')
        return self

"""What S3 checks an object by. Blocks while it reads: call it in a thread."""

import base64
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, Protocol

import google_crc32c

Algorithm = Literal["crc32c", "sha256", "none"]

_CHUNK_BYTES: Final = 256 * 1024
"""CRC-32C keeps the GIL: for 0.05 ms at a time."""


class _Hash(Protocol):
    def update(self, chunk: bytes) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A CRC of 32 bits, big-endian, as S3 has it."""

    def __init__(self, extend: Callable[[bytes, int], int]) -> None:
        """`extend`: from a chunk, and the value before it, to the value behind it."""
        self._extend = extend
        self._value = 0

    def update(self, chunk: bytes) -> None:
        self._value = self._extend(chunk, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _crc32c(chunk: bytes, value: int) -> int:
    """Castagnoli's."""
    return int(google_crc32c.extend(value, chunk))


_HASHES: Final[dict[str, Callable[[], _Hash]]] = {
    "crc32": partial(_Crc, zlib.crc32),
    "crc32c": partial(_Crc, _crc32c),
    "sha256": hashlib.sha256,
}
CHECKED: Final = tuple(_HASHES)
"""What can be checked: that of boto3 is CRC-32, where nothing else was asked for."""


@dataclass(frozen=True, slots=True)
class Digests:
    """Of one range of a file."""

    checksum: str | None
    """In base64; None for "none"."""
    sha256: str | None
    """In hex, if it was asked for."""


def digests(path: Path, offset: int, size: int, algorithm: Algorithm, *, signed: bool) -> Digests:
    """Read `size` bytes from `offset` on. `signed`: the SHA-256 is wanted too. Raises OSError."""
    wanted = {name for name in (algorithm, "sha256" if signed else "none") if name != "none"}
    hashes = {name: _HASHES[name]() for name in wanted}
    if hashes:
        with path.open("rb") as file:
            file.seek(offset)
            left = size
            while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
                left -= len(chunk)
                for each in hashes.values():
                    each.update(chunk)
    found = {name: each.digest() for name, each in hashes.items()}
    return Digests(
        base64.b64encode(found[algorithm]).decode("ascii") if algorithm in found else None,
        found["sha256"].hex() if signed else None,
    )


def checksum_of(data: bytes, algorithm: str) -> str:
    """Of bytes in memory, in base64; `algorithm` is one of CHECKED."""
    each = _HASHES[algorithm]()
    for start in range(0, len(data), _CHUNK_BYTES):
        each.update(data[start : start + _CHUNK_BYTES])
    return base64.b64encode(each.digest()).decode("ascii")

"""The echo method of all echo servers, under the path of hushar's own method so that one load fits all.

Bytes in, bytes out: no server parses a message, so what is measured is the transport.
"""

import argparse
from typing import Self

from handler import ready

__all__ = ["METHOD", "PATH", "SERVICE", "Bytes", "arguments", "ready"]

SERVICE = "hushar.Hushar"
METHOD = "InferenceService"
PATH = f"/{SERVICE}/{METHOD}"


class Bytes:
    """A message that is its bytes, under the names that purerpc wants of a message class."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def ParseFromString(self, data: bytes) -> Self:  # noqa: N802 - protobuf's name
        """Keep the bytes."""
        self._data = data
        return self

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """The bytes."""
        return self._data


def arguments(description: str, *kinds: str) -> argparse.Namespace:
    """`port`, and `kind` where there are several."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=0, help="0 picks one")
    if kinds:
        parser.add_argument("--kind", choices=kinds, required=True)
    return parser.parse_args()

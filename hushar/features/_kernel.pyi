from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

def count_rows(messages: Sequence[bytes]) -> list[int]: ...
def strings_are_utf8(data: bytes, offsets: NDArray[np.int64]) -> bool: ...

class Program:
    def __init__(
        self,
        features: list[tuple[Any, ...]],
        row_default: NDArray[np.float32],
        seed: int,
        zero_in_groups: bool,
    ) -> None: ...
    def decodes(self, message: bytes) -> bool: ...
    def add(self, lacking: NDArray[np.int64], /) -> None: ...
    def add_unparsable(self, position: int, /) -> None: ...
    def table(self) -> NDArray[np.int64]: ...
    def vectorize(
        self, parts: Sequence[Any], rows: Sequence[int], counted: bool
    ) -> tuple[
        NDArray[np.float32],
        list[tuple[int, int, int, int, bytes]],
        Sequence[tuple[int, int, NDArray[np.int64], NDArray[Any]]],
        NDArray[np.int64] | None,
        tuple[bytes, bytes] | None,
    ]: ...
    def fill_column(
        self,
        position: int,
        matrix: NDArray[np.float32],
        element: int,
        values: NDArray[np.uint8],
        offsets: NDArray[np.int64] | None,
        present: NDArray[np.uint8] | None,
    ) -> tuple[int, int]: ...

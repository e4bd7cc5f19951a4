"""What a model runtime is: a matrix in, scores out.

A factory (`hushar_runtimes`, by name) loads a model from its bytes and returns a Runtime; it raises
ModelError for everything that can be known before the first request. `run` is called from the event
loop's thread or from a worker thread, and from several at once: it must be safe for that, and should
release the GIL while it computes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hushar.errors import HusharError
from hushar.storage.interface import Blob


class ModelError(HusharError):
    """A model cannot be loaded as configured. `key` is the setting at fault, such as `model.output`."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model."""

    name: str
    dtype: str
    """numpy's name: `float32`, `float64`, `int64`, …; the runtime's own where numpy has none."""
    shape: tuple[int | str | None, ...]
    """A name or None where the dimension is free."""

    def __str__(self) -> str:
        dimensions = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} {self.dtype} ({dimensions})"


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """The section `model` of the service configuration, as far as it is the runtime's concern."""

    output: str | None = None
    """The output that holds the scores; None: the first floating-point output."""
    providers: Sequence[str] = ()
    """Execution providers in order of preference; empty: the runtime's choice for the CPU."""
    provider_options: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    optimization: str = "all"
    """"none", "basic", "extended" or "all"."""
    session_config: Mapping[str, str] = field(default_factory=dict)
    intra_op_threads: int | None = None
    """0: the runtime's own choice; None: from the affinity of the process."""
    inter_op_threads: int = 1
    arena_extend: str = "same_as_requested"


class Runtime(ABC):
    """A loaded model."""

    name: str
    """The runtime's name, as in `model.runtime`."""
    version: str
    """The version of the library that computes."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    output: TensorSpec
    """The output that holds the scores."""
    width: int | None
    """Columns of the input matrix; None if the model takes any number."""
    details: Mapping[str, str]
    """What else a person wants to see: `opset`, `providers`, `producer`, …"""

    @abstractmethod
    def to_tensor(self, matrix: NDArray[np.float32]) -> Any:
        """The model's input made from a C-contiguous float32 matrix `(rows, width)`; no copy where
        the model takes it as it is. `ToTensorTime` is measured around this.
        """

    @abstractmethod
    def run(self, tensor: Any) -> NDArray[np.float32]:
        """The scores, C-contiguous float32 `(rows, scores a row)`. An output of rank 1 becomes one
        column; float64 is narrowed. Raises whatever the library raises; the caller hides it.
        """


RuntimeFactory = Callable[[Blob, ModelSettings], Runtime]
"""Loads a model. Raises ModelError."""

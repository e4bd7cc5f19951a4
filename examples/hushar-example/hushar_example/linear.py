"""The runtime `linear-json`: scores are weighted sums, the weights stand in a JSON file."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hushar.plugins import Blob, ModelError, ModelSettings, Runtime, TensorSpec


class LinearModel(BaseModel):
    """The model file: `{"weights": [[…], …], "bias": […]}`, a row of weights and a bias for each score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: list[list[float]] = Field(min_length=1)
    bias: list[float]

    @model_validator(mode="after")
    def _has_one_shape(self) -> Self:
        if not self.weights[0] or len({len(row) for row in self.weights}) > 1:
            raise ValueError("the rows of `weights` must have the same length, at least 1")
        if len(self.bias) != len(self.weights):
            raise ValueError("`bias` must be as long as `weights`")
        return self


class LinearRuntime(Runtime):
    """scores = matrix · weightsᵀ + bias, in float32. Calling the class is the runtime's factory."""

    name = "linear-json"
    version = np.__version__

    def __init__(self, blob: Blob, settings: ModelSettings) -> None:
        try:
            model = LinearModel.model_validate_json(blob.data)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise ModelError("model_path", f"{blob.uri} is no linear model: {key} {first['msg']}") from error
        if settings.output not in (None, "scores"):
            raise ModelError("model.output", f"there is no output {settings.output!r}, only 'scores'")
        self._weights = np.array(model.weights, np.float32).T
        self._bias = np.array(model.bias, np.float32)
        self.width, scores = self._weights.shape
        self.inputs = (TensorSpec("features", "float32", (None, self.width)),)
        self.output = TensorSpec("scores", "float32", (None, scores))
        self.outputs = (self.output,)
        self.details = {"format": "JSON"}

    def to_tensor(self, matrix: NDArray[np.float32]) -> Any:
        """The matrix is what numpy takes."""
        return matrix

    def run(self, tensor: Any) -> NDArray[np.float32]:
        """No state is touched, so any number of threads may be in here."""
        return np.ascontiguousarray(tensor @ self._weights + self._bias, np.float32)

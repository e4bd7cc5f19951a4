"""onnxruntime behind the Runtime interface.

onnxruntime is forgiving where a server should not be: it ignores configuration entries that it does
not know, options of the CPU provider, and providers that are not there (with a warning). What of
this can be known at start is an error here.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hushar.models.messages import described, listing, short_text
from hushar.models.onnx_bound import BoundRuns, run_options
from hushar.models.onnx_file import (
    ExternalDataRefused,
    check_external_data,
    external_locations,
    header_details,
    read_header,
)
from hushar.models.onnx_options import CPU, SILENT, check_providers, providers_of, session_options
from hushar.models.runtime import ModelError, ModelSettings, Runtime, TensorSpec
from hushar.nearest import did_you_mean
from hushar.proto.internal_pb2 import OnnxModelHeader
from hushar.storage.interface import Blob
from hushar.texts import visible

NAME = "onnxruntime"
"""The name under which this runtime is registered."""

_DTYPES: Mapping[str, str] = {
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}
_FLOATS = ("float32", "float64")


class OnnxRuntime(Runtime):
    """A loaded ONNX model. `run` may be called from any thread, and from several at once."""

    name = NAME

    def __init__(
        self, session: Any, options: Any, version: str, output: TensorSpec, details: Mapping[str, str]
    ) -> None:
        """`session` is an onnxruntime.InferenceSession with one input that `load` has looked at; `options`
        are the RunOptions of every run."""
        self.version = version
        self.inputs = _specs(session.get_inputs())
        self.outputs = _specs(session.get_outputs())
        self.output = output
        self.details = details
        (taken,) = self.inputs
        columns = taken.shape[1] if taken.shape else None
        self.width = columns if isinstance(columns, int) else None
        on_cpu = session.get_providers() == [CPU]
        self._runs = BoundRuns(session, options, taken.name, output.name, binds=on_cpu)
        self._double = taken.dtype == "float64"

    def to_tensor(self, matrix: NDArray[np.float32]) -> NDArray[Any]:
        """The matrix itself for a float32 model, a float64 copy of it for a float64 one."""
        return matrix.astype(np.float64) if self._double else matrix

    def run(self, tensor: NDArray[Any]) -> NDArray[np.float32]:
        """Raises what onnxruntime raises, and UnexpectedScores if the output does not fit the rows."""
        return self._runs.run(tensor)


def load(blob: Blob, settings: ModelSettings) -> Runtime:
    """Load an ONNX model as `settings` says: the RuntimeFactory of onnxruntime.

    The bytes of `blob` are what is loaded, unless weights lie in other files beside it: onnxruntime
    finds those by the path of the model only. Raises ModelError with the key `model_path` for a file
    that is no usable model, and with the setting's own key for a setting that does not fit.
    """
    # Its Linux builds keep a telemetry database in the home directory, from the import on.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # noqa: PLC0415 - half a second that only a loaded model has to pay

    # onnxruntime writes warnings to stderr by itself. What matters is raised, or checked here.
    onnxruntime.set_default_logger_severity(SILENT)
    providers, options = providers_of(settings, onnxruntime.get_available_providers())
    header = _header(blob)
    session = _session(onnxruntime, _source(blob, header), settings, (providers, options), blob.uri)
    check_providers(providers, session.get_providers())
    _check_inputs(_specs(session.get_inputs()))
    details = {
        **header_details(header),
        "providers": ", ".join(session.get_providers()),
        "threads": _threads(session.get_session_options()),
    }
    output = choose_output(_specs(session.get_outputs()), settings.output)
    return OnnxRuntime(session, run_options(onnxruntime), onnxruntime.__version__, output, details)


def _header(blob: Blob) -> OnnxModelHeader:
    header = read_header(blob.data) if blob.data else None
    if header is None:
        reason = "its bytes are no onnx.ModelProto" if blob.data else "the file is empty"
        raise ModelError("model_path", f"{blob.uri} is not a readable ONNX model: {reason}")
    return header


def _source(blob: Blob, header: OnnxModelHeader) -> bytes | str:
    """What onnxruntime is to read: the bytes, or the path of a model with external data."""
    locations = external_locations(header)
    if not locations:
        return blob.data
    if blob.path is None:
        names = visible(", ".join(sorted(locations)))
        raise ModelError(
            "model_path",
            f"{blob.uri} keeps its weights in further files ({names}), which are read only beside a "
            "local file; save the model as one file",
        )
    try:
        check_external_data(blob.path, locations)
    except ExternalDataRefused as error:
        raise ModelError("model_path", f"{blob.uri} is not a readable ONNX model: {error}") from error
    return str(blob.path)


def _session(
    onnxruntime: Any,
    source: bytes | str,
    settings: ModelSettings,
    providers: tuple[Sequence[str], Sequence[Mapping[str, str]]],
    uri: str,
) -> Any:
    options = session_options(onnxruntime, settings)
    names, provider_options = providers
    try:
        return onnxruntime.InferenceSession(
            source,
            options,
            providers=list(names),
            provider_options=[dict(each) for each in provider_options],
            enable_fallback=0,  # else it prints a banner and tries the CPU
        )
    except Exception as error:
        # What onnxruntime has against a model has a class of its own; a plain RuntimeError is what
        # its C++ code throws while it reads options.
        if type(error) is RuntimeError and settings.session_config:
            raise ModelError("model.session_config", short_text(error)) from error
        raise ModelError("model_path", f"{uri} is not a readable ONNX model: {short_text(error)}") from error


def _specs(arguments: Sequence[Any]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(each.name, _DTYPES.get(each.type, each.type), tuple(each.shape)) for each in arguments
    )


def _check_inputs(inputs: Sequence[TensorSpec]) -> None:
    """The model must take one float matrix of any number of rows; an undeclared shape may be one."""
    if len(inputs) != 1:
        found = f"{len(inputs)} inputs ({listing(inputs)})" if inputs else "no input"
        raise ModelError("model_path", f"the model has {found}; it must have one, a matrix (rows, width)")
    (taken,) = inputs
    what = f"the model's input {taken.name!r} is {described(taken)}"
    if taken.dtype not in _FLOATS:
        raise ModelError("model_path", f"{what}; it must be float32 or float64")
    if taken.shape and len(taken.shape) != 2:
        raise ModelError("model_path", f"{what}; it must be a matrix (rows, width)")
    if taken.shape and isinstance(taken.shape[0], int):
        raise ModelError(
            "model_path",
            f"{what}: its number of rows is fixed; export it with a free (dynamic) first dimension",
        )


def choose_output(outputs: Sequence[TensorSpec], name: str | None) -> TensorSpec:
    """The output that holds the scores: the one called `name`, else the first of floating-point numbers.

    "The first of floating-point numbers" and not simply the first, since a classifier of scikit-learn
    has its int64 labels before its probabilities. Raises ModelError with the key `model.output`.
    """
    if name is None:
        chosen = next((spec for spec in outputs if spec.dtype in _FLOATS), None)
        if chosen is None:
            raise _output_error("the model has no output of float32 or float64", outputs)
    else:
        named = [spec for spec in outputs if spec.name == name]
        if not named:
            hint = did_you_mean(name, [spec.name for spec in outputs])
            raise _output_error(f"the model has no output {name!r}{hint}", outputs)
        (chosen,) = named
        if chosen.dtype not in _FLOATS:
            raise _output_error(f"output {name!r} is {chosen.dtype}, not float32 or float64", outputs)
    if len(chosen.shape) > 2:
        raise _output_error(
            f"output {chosen.name!r} is {described(chosen)}; scores are (rows) or (rows, scores a row)",
            outputs,
        )
    return chosen


def _output_error(message: str, outputs: Sequence[TensorSpec]) -> ModelError:
    zipmap = any(spec.dtype.startswith("seq(map(") for spec in outputs)
    hint = "; export the classifier with zipmap=False to get its probabilities as a matrix" if zipmap else ""
    return ModelError("model.output", f"{message}; its outputs are {listing(outputs)}{hint}")


def _threads(options: Any) -> str:
    intra, inter = options.intra_op_num_threads, options.inter_op_num_threads
    return f"{intra or 'default'} within, {inter or 'default'} across operators"

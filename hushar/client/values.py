"""One value of a feature → its DataType message.

A bare Python or JSON number says nothing about its width, so the kind comes from elsewhere: from the
caller (`kinds`), or, where nothing is known, from the Python type: `float` → float_value, `int` →
integer_value, `str` → string_value. These are the kinds that the 32-bit transformations and `identity`
accept. Float32 loses nothing that the float32 model input of `identity` keeps; a 64-bit transformation
refuses them with an error that names the kind, so nothing is narrowed unseen. A numpy value has a
width of its own, and that decides, whatever `kinds` says.
"""

import struct
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hushar.client.kinds import ARRAY_OF, SCALAR_OF
from hushar.proto.structs_pb2 import DataType

_INT32: Final = range(-(2**31), 2**31)
_INT64: Final = range(-(2**63), 2**63)
_FLOAT32: Final = struct.Struct("<f")
_SHOWN_CHARACTERS = 40


def assign(target: DataType, value: Any, kind: str | None = None) -> bool:
    """Set `target`, an empty DataType, to `value`; False (and nothing set) where it counts as absent.

    `value`: None (absent), a DataType, a Python number or string, a numpy scalar, or a list, tuple or
    numpy array of one dimension. `kind`: the kind of a bare Python value; a list takes the array kind
    of a scalar `kind`. Raises ValueError with what is wrong, without naming the feature.
    """
    if value is None:
        return False
    if isinstance(value, DataType):
        target.CopyFrom(value)
        return value.WhichOneof("data_type") is not None
    if isinstance(value, np.ndarray):
        _assign_numpy(target, value)
    elif isinstance(value, np.generic):
        setattr(target, kind_of_dtype(value.dtype), value.item())
    elif isinstance(value, list | tuple):
        _assign_sequence(target, value, kind)
    elif kind in SCALAR_OF:
        raise ValueError(f"{kind} needs a list of values, not {_shown(value)}")
    else:
        chosen = kind or _kind_of_python(value)
        setattr(target, chosen, checked(value, chosen))
    return True


def checked(value: Any, kind: str) -> float | int | str:
    """`value`, a bare Python value, as what a field of the scalar `kind` takes.

    Nothing is converted but an int to a float kind. Raises ValueError where the value is of another
    type or out of range.
    """
    if kind == "string_value":
        return _checked_string(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{kind} needs a number, not {_shown(value)}")  # noqa: TRY004
    if kind in ("integer_value", "long_value"):
        if not isinstance(value, int):
            raise ValueError(f"{kind} needs a whole number, not {_shown(value)}")
        if value not in (_INT32 if kind == "integer_value" else _INT64):
            raise ValueError(f"{_shown(value)} does not fit {kind}")
        return int(value)
    try:
        number = float(value)
        if kind == "float_value":
            _FLOAT32.pack(number)
    except OverflowError:
        raise ValueError(f"{_shown(value)} does not fit {kind}") from None
    return number


def kind_of_dtype(dtype: np.dtype[Any]) -> str:
    """The scalar kind that holds every value of a numpy dtype. Raises ValueError where there is none."""
    if dtype.kind == "U":
        return "string_value"
    if dtype.kind in "iu":
        for kind, integer in (("integer_value", np.int32), ("long_value", np.int64)):
            if np.can_cast(dtype, integer):
                return kind
    if dtype.kind == "f":
        for kind, floating in (("float_value", np.float32), ("double_value", np.float64)):
            if np.can_cast(dtype, floating):
                return kind
    raise ValueError(f"a numpy {dtype} has no kind on the wire: convert it with astype()")


def as_array(value: Any) -> Any:
    """A numpy array of what looks like one (a pandas Series); anything else as it is."""
    if not isinstance(value, np.ndarray | np.generic) and hasattr(value, "__array__"):
        return np.asarray(value)
    return value


def _assign_numpy(target: DataType, value: NDArray[Any]) -> None:
    if value.ndim == 0:
        assign(target, value[()])
    elif value.ndim > 1:
        raise ValueError(f"an array must have one dimension, not {value.ndim}")
    elif value.dtype == object:
        _assign_sequence(target, value.tolist(), None)
    else:
        _assign_elements(target, kind_of_dtype(value.dtype), value.tolist())


def _assign_sequence(target: DataType, values: Sequence[Any], kind: str | None) -> None:
    """A list: of bare values of `kind`, or of numpy scalars of one dtype."""
    if values and all(isinstance(value, np.generic) for value in values):
        kinds = {kind_of_dtype(value.dtype) for value in values}
        if len(kinds) > 1:
            raise ValueError(f"a list holds values of one kind, not of {' and '.join(sorted(kinds))}")
        _assign_elements(target, kinds.pop(), [value.item() for value in values])
        return
    element = SCALAR_OF.get(kind, kind) if kind else _kind_of_list(values)
    _assign_elements(target, element, [checked(value, element) for value in values])


def _assign_elements(target: DataType, element: str, values: Sequence[Any]) -> None:
    array = getattr(target, ARRAY_OF[element])
    array.SetInParent()  # an empty array is a value too
    array.values.extend(values)


def _kind_of_python(value: Any) -> str:
    if isinstance(value, str):
        return "string_value"
    if isinstance(value, bool):
        raise ValueError("a boolean has no kind on the wire: send 0 or 1, or a string")  # noqa: TRY004
    if isinstance(value, int):
        if value not in _INT32:
            raise ValueError(f"{_shown(value)} does not fit integer_value: name the kind, such as long_value")
        return "integer_value"
    if isinstance(value, float):
        return "float_value"
    raise ValueError(f"a {type(value).__name__} has no kind on the wire")


def _kind_of_list(values: Sequence[Any]) -> str:
    """The kind of a list's elements: of ints and floats together, float_value."""
    if not values:
        raise ValueError("the kind of an empty list is not known: name it, such as float_array")
    kinds = {_kind_of_python(value) for value in values}
    if len(kinds) == 1:
        return kinds.pop()
    if kinds == {"integer_value", "float_value"}:
        return "float_value"
    raise ValueError("a list holds values of one kind, not numbers and strings")


def _checked_string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"string_value needs a string, not {_shown(value)}")  # noqa: TRY004
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{value!r} is no valid Unicode text") from None
    return str(value)


def _shown(value: Any) -> str:
    """The value for a message: its repr, cut."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"  # int → str is quadratic, and limited
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"

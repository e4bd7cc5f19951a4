"""What a person is told about a model: short, in one line."""

import re
from collections.abc import Iterable

from hushar.models.runtime import TensorSpec
from hushar.texts import cut, printable, visible

_LONGEST = 300

# onnxruntime puts codes, and often C++ source lines with the function, before and inside its sentences.
_CODE = re.compile(r"\[ONNXRuntimeError\] : -?\d+ : [A-Z_]+ : ")
_SOURCE = re.compile(r"\S*\.(?:cc|cpp|cxx|cu|h):\d+ (?:\w+|.*?(?:[)>\]]|was false\.)) (?=[A-Z])")


def short_text(error: BaseException) -> str:
    """A library's error in one line, printable, without codes and source lines, 300 characters of it."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = _CODE.sub("", text)
    while (shorter := _SOURCE.sub("", text)) != text:  # one error may quote another
        text = shorter
    text = text.rstrip(". ")
    return printable(cut(text, _LONGEST))


def listing(specs: Iterable[TensorSpec]) -> str:
    """`'label' int64 (N), 'probabilities' float32 (N, 3)`."""
    return ", ".join(f"{spec.name!r} {described(spec)}" for spec in specs)


def described(spec: TensorSpec) -> str:
    """`float32 (N, 3)`: dtype and shape, `?` for a free dimension without a name."""
    shape = ", ".join("?" if size is None else visible(str(size)) for size in spec.shape)
    dtype = visible(spec.dtype)
    return f"{dtype} ({shape})" if spec.shape else dtype

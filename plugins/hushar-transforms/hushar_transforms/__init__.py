"""Further transformations for hushar, found by the entry point `transforms`.

Every one computes what its docstring says, bit for bit on every machine with IEEE 754 arithmetic
(`log1p` and `cyclical`: as exact as the platform's `log1p`, `sin` and `cos`).
"""

from collections.abc import Mapping

from hushar.plugins import Transformation, hookimpl
from hushar_transforms.bucketize import Bucketize
from hushar_transforms.cyclical import Cyclical
from hushar_transforms.hashing import Hashing
from hushar_transforms.scaling import Clip, Log1p
from hushar_transforms.text import TextLength


@hookimpl
def hushar_transformations() -> Mapping[str, type[Transformation]]:
    """The transformations of this distribution, by `type`."""
    return {
        "bucketize": Bucketize,
        "clip": Clip,
        "cyclical": Cyclical,
        "hashing": Hashing,
        "log1p": Log1p,
        "text_length": TextLength,
    }

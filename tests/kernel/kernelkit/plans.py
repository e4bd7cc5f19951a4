"""Random vectorization configurations, compiled by hushar; one of their types is a plugin's."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hushar.features.interface import ANY, Element, Transformation, TransformationParameters, Transformed
from hushar.features.plan import compile_plan
from hushar.features.transformations import BUILTIN
from hushar.records import VectorizationDocument
from kernelkit import values

SEVEN = tuple(BUILTIN)
NAMES = (
    "f", "age", "größe", "A-b.c", "प", "x" * 31, "x" * 32, "x" * 130, "with space", "\\", "'quoted'",
    "line\nbreak", "日本",
)  # fmt: skip


class PluginParameters(TransformationParameters):
    """`bias` is added to the size of a value."""

    bias: float


class PluginTransformation(Transformation):
    """Two numbers for a value: its size and its element type; knows nothing above 10, refuses 7."""

    Parameters: ClassVar[type[TransformationParameters]] = PluginParameters
    accepts: ClassVar[frozenset[Element]] = ANY
    wants: ClassVar[str] = "a lucky value"

    @property
    def unit(self) -> int:
        """Two."""
        return 2

    def transform(self, column: Any) -> Transformed:
        """See Transformation."""
        assert column.values.dtype == column.element.dtype
        assert column.values.ndim == 1
        if column.element is Element.STRING:
            assert all(type(value) is str for value in column.values)
            size = np.array([len(value) for value in column.values], np.float64)
        else:
            with np.errstate(all="ignore"):
                size = column.values.astype(np.float64)
        made = np.empty((len(size), 2), np.float32)
        with np.errstate(all="ignore"):
            made[:, 0] = size + self.parameters.bias
        made[:, 1] = list(Element).index(column.element)
        return Transformed(made, unknown=size > 10, unparsable=size == 7)


REGISTRY = {**BUILTIN, "plugin": PluginTransformation}


@dataclass(frozen=True, eq=False)
class Setup:
    """A configuration and its plan."""

    configuration: dict
    """As in CONTRACT.md 2: `feature_transformations` and `feature_order`."""
    plan: Any

    @property
    def order(self):
        """The names, in the order of their columns."""
        return self.configuration["feature_order"]

    def parameters(self, name):
        """What the configuration says of a feature."""
        return self.configuration["feature_transformations"][name]


def setup_of(features):
    """The Setup of features in this order."""
    document = VectorizationDocument("vectorization.json", features, tuple(features))
    configuration = {"feature_transformations": features, "feature_order": list(features)}
    return Setup(configuration, compile_plan(document, REGISTRY))


def _finite(random):
    """A parameter; JSON has integers too."""
    match random.randrange(4):
        case 0:
            return random.randint(-9, 9)
        case 1:
            return random.choice((0.0, -0.0, 0.1, 3e38, -3e38, 1e-45, 1e-40, 16777217.0))
        case _:
            return random.uniform(-1, 1) * 10.0 ** random.randint(-4, 6)


def _between(random, kind):
    """(min, max) with min < max also after rounding."""
    while True:
        low, high = sorted((_finite(random), _finite(random)))
        if kind.endswith("64") and random.random() < 0.1:
            low, high = -1.7e308, 1.7e308
        if (low < high) and (kind.endswith("64") or values.float32(low) < values.float32(high)):
            return low, high


def transformation(random, kind):
    """The parameters of one feature."""
    units = random.choice((1, 1, 1, 2, 3, 9))
    made: dict[str, Any] = {"type": kind}
    unit = 1
    if kind.startswith("min_max"):
        made["min"], made["max"] = _between(random, kind)
    elif kind.startswith("standard"):
        made["mean"] = _finite(random)
        made["std_dev"] = random.choice((1, 0.125, 0.3, 1e-40 if kind.endswith("32") else 1e-310, 1e30, 7))
    elif kind == "one_hot_encoding":
        made["categories"] = random.sample(values.WORDS, random.choice((1, 2, 5, 12)))
        unit = len(made["categories"])
    elif kind == "embedding":
        unit = random.choice((1, 2, 4, 7))
        words = random.sample(values.WORDS, random.choice((1, 2, 6, 15)))
        made["embeddings"] = {word: [_finite(random) for _ in range(unit)] for word in words}
    elif kind == "plugin":
        unit = 2
        made["bias"] = random.choice((0.0, 0.5))
    made["default_val"] = [_finite(random) for _ in range(units * unit)]
    if random.random() < 0.1:
        made["default_val"][0] = random.choice((math.nan, math.inf, -0.0))
    return made


def setup(random, *, plugin=None):
    """A configuration of a few features up to many; each type comes soon. `plugin`: whether one is there."""
    kinds = random.choices(SEVEN, k=random.choice((1, 1, 2, 4, 7, 14, 40)))
    if random.random() < 0.4:
        kinds += SEVEN
    if plugin is None:
        plugin = random.random() < 0.15
    if plugin:
        kinds += ["plugin"] * random.choice((1, 2))
    random.shuffle(kinds)
    features = {}
    for index, kind in enumerate(kinds):
        name = f"{random.choice(NAMES)} {index}" if index else random.choice(("", "feature1", "प", *NAMES))
        features[name] = transformation(random, kind)
    return setup_of(features)

"""Random vectorization configurations and rows for them, from a seed: all seven types, all ten kinds."""

import math
import struct

SEVEN = [
    "identity",
    "min_max_scaling32",
    "min_max_scaling64",
    "standardization32",
    "standardization64",
    "one_hot_encoding",
    "embedding",
]
WORDS = ["", "a", "b", "red", "Red", "rouge é", "नमस्ते", "x" * 300, "with space", "1"]
EXTREMES = [0.0, -0.0, 1.0, -1.0, 1 / 3, 1e-45, 1e-320, 3.4028234663852886e38, 3.5e38, 1e308, 16777217.0]
TEXT_NUMBERS = [
    "0",
    "-0",
    "1.",
    ".5",
    "+7e-2",
    "1e400",
    "-1e400",
    "1e-400",
    "-1E-60",
    "16777217",
    "0.1",
    "9" * 60,
]
NO_NUMBERS = ["", "nan", "inf", "1_000", " 1", "1 ", "0x10", "1e", "e5", ".", "+-1", "١", "1,5", "1\n"]


def _double(random):
    if random.random() < 0.3:
        return random.choice(EXTREMES)
    if random.random() < 0.1:
        return random.choice([math.nan, math.inf, -math.inf])
    if random.random() < 0.3:
        return struct.unpack("<d", random.randbytes(8))[0]
    return random.uniform(-1, 1) * 10 ** random.randint(-4, 6)


def _number_text(random):
    if random.random() < 0.4:
        return random.choice(TEXT_NUMBERS)
    return repr(random.uniform(-1, 1) * 10.0 ** random.randint(-50, 40))


class Rows:
    """Makes configurations and rows; `oracle` is only asked to round to float32."""

    def __init__(self, random, oracle):
        self.random = random
        self.float32 = oracle.float32

    def _float(self):
        return self.float32(_double(self.random))

    def _finite(self, rounded=float):
        """A parameter: a number as JSON can hold it, that is exact in the transformation's precision."""
        if self.random.random() < 0.3:
            return self.random.randint(-9, 9)
        return rounded(self.random.uniform(-1, 1) * 10.0 ** self.random.randint(-3, 5))

    def transformation(self, kind):
        """The parameters of one feature."""
        random, width = self.random, self.random.choice([1, 1, 2, 3])
        rounded = self.float32 if kind.endswith("32") else float
        made = {"type": kind}
        if kind.startswith("min_max"):
            made["min"] = self._finite(rounded)
            made["max"] = rounded(made["min"] + abs(rounded(self._finite(rounded))) + 0.5)
        elif kind.startswith("standard"):
            made["mean"] = self._finite(rounded)
            made["std_dev"] = rounded(abs(self._finite(rounded)) + 0.125)
        elif kind == "one_hot_encoding":
            made["categories"] = random.sample(WORDS, random.randint(1, 5))
            width *= len(made["categories"])
        elif kind == "embedding":
            dimension = random.randint(1, 4)
            made["embeddings"] = {
                word: [self._finite(self.float32) for _ in range(dimension)]
                for word in random.sample(WORDS, random.randint(1, 6))
            }
            width *= dimension
        made["default_val"] = [self._finite(self.float32) for _ in range(width)]
        return made

    def configuration(self):
        """Each type at least twice, in a random order, under names of several alphabets."""
        types = SEVEN * 2 + self.random.choices(SEVEN, k=6)
        self.random.shuffle(types)
        names = [f"{self.random.choice(['f', 'größe', 'A-b.c', 'प'])} {i}" for i in range(len(types))]
        made = {name: self.transformation(kind) for name, kind in zip(names, types, strict=True)}
        order = list(names)
        self.random.shuffle(order)
        return {"feature_transformations": made, "feature_order": order}

    def _count(self, parameters):
        """How many values this feature takes."""
        width = len(parameters["default_val"])
        if parameters["type"] == "one_hot_encoding":
            return width // len(parameters["categories"])
        if parameters["type"] == "embedding":
            return width // len(next(iter(parameters["embeddings"].values())))
        return width

    def _scalar(self, base):
        makers = {
            "float": self._float,
            "double": lambda: _double(self.random),
            "integer": lambda: self.random.choice([0, -1, 7, 2**31 - 1, -(2**31), 2**24 + 1]),
            "long": lambda: self.random.choice([0, -3, 2**63 - 1, -(2**63), 2**53 + 1, 2**60 + 2**36 + 1]),
            "word": lambda: self.random.choice([*WORDS, "unknown", "déjà"]),
            "number": lambda: _number_text(self.random),
        }
        return makers[base]()

    def good(self, parameters):
        """(kind, value) that the transformation accepts."""
        kind, count = parameters["type"], self._count(parameters)
        if kind in ("one_hot_encoding", "embedding"):
            base = "word"
        elif kind == "identity":
            base = self.random.choice(["float", "double", "integer", "long", "number"])
        else:
            base = self.random.choice(["float", "integer"] if kind.endswith("32") else ["double", "long"])
        return self._shaped(base, count)

    def _shaped(self, base, count):
        name = "string" if base in ("word", "number") else base
        if count == 1 and self.random.random() < 0.5:
            return f"{name}_value", self._scalar(base)
        return f"{name}_array", [self._scalar(base) for _ in range(count)]

    def bad(self):
        """(kind, value) that most transformations refuse: any kind, any length, no number."""
        base = self.random.choice(["float", "double", "integer", "long", "word", "number"])
        if base == "number":
            return "string_value", self.random.choice(NO_NUMBERS)
        return self._shaped(base, self.random.randint(0, 4))

    def row(self, configuration, wrong=0.0):
        """{name: (kind, value)}: some absent, with no value set, unknown to the configuration, or wrong."""
        features = {}
        for name, parameters in configuration["feature_transformations"].items():
            chance = self.random.random()
            if chance < wrong:
                features[name] = self.bad()
            elif chance < 0.8:
                features[name] = self.good(parameters)
            elif chance < 0.85:
                features[name] = (None, None)
        if self.random.random() < 0.3:
            features["nobody asked"] = self.bad()
        return features

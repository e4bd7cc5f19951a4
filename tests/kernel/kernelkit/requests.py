"""InferenceRequests at the level of bytes, for a configuration: from what clients send to what none would.

Every way of writing the same thing that protobuf allows, and, where asked for, what it does not.
"""

import struct

from kernelkit import values
from kernelkit.schema import VALUE_FIELDS
from kernelkit.wire import I32, I64, LEN, VARINT, Scribe, groups, tag, varint

KINDS = tuple(VALUE_FIELDS)
_NARROW = ("float", "integer")
_WIDE = ("double", "long")
_WORD_TYPES = ("one_hot_encoding", "embedding")

_REQUEST = {1: (LEN,), 2: (LEN,)}
_ROW = {1: (LEN,), 2: (LEN,)}
_ENTRY = {1: (LEN,), 2: (LEN,)}
_VALUE = {
    1: (I64,), 2: (I32,), 3: (VARINT,), 4: (VARINT,), 5: (LEN,), 6: (LEN,), 7: (LEN,), 8: (LEN,),
    9: (LEN,), 10: (LEN,),
}  # fmt: skip
_ARRAYS = {
    "double": {1: (I64, LEN)},
    "float": {1: (I32, LEN)},
    "integer": {1: (VARINT, LEN)},
    "long": {1: (VARINT, LEN)},
    "string": {1: (LEN,)},
}
_WIRE_TYPE = {"double": I64, "float": I32, "integer": VARINT, "long": VARINT, "string": LEN}


def unit_of(parameters):
    """How many columns a value has."""
    match parameters["type"]:
        case "one_hot_encoding":
            return len(parameters["categories"])
        case "embedding":
            return len(next(iter(parameters["embeddings"].values())))
        case "plugin":
            return 2
        case _:
            return 1


class Maker(Scribe):
    """Makes requests for one configuration.

    `odd`: chance of each unusual but legal way of writing; `broken`: of something undecodable at each
    place; `flaw`: of a value that the configuration refuses.
    """

    def __init__(self, random, setup, *, odd=0.0, broken=0.0, flaw=0.0):
        super().__init__(random, odd, broken)
        self.setup = setup
        self.flaw = flaw
        self._accepted = {name: self._good_elements(setup.parameters(name)["type"]) for name in setup.order}
        self._units = {
            name: len(setup.parameters(name)["default_val"]) // unit_of(setup.parameters(name))
            for name in setup.order
        }
        self._words = {
            name: tuple(
                setup.parameters(name).get("categories") or setup.parameters(name).get("embeddings") or ()
            )
            for name in setup.order
        }

    @staticmethod
    def _good_elements(kind):
        if kind in _WORD_TYPES:
            return ("string",)
        if kind in ("identity", "plugin"):
            return ("double", "float", "integer", "long", "string")
        return _NARROW if kind.endswith("32") else _WIDE

    # ---- values ---------------------------------------------------------------------------

    def _element(self, element, name=None):
        """The bytes of one value, as they stand behind a tag or in a packed run (strings: the content)."""
        random = self.random
        match element:
            case "double":
                return values.float64_bits(random)
            case "float":
                return values.float32_bits(random)
            case "integer":
                number = values.int32(random)
                if self.oddly():
                    number |= random.getrandbits(32) << 32  # cut to its low 32 bits
                return self.varint(number)
            case "long":
                return self.varint(values.int64(random))
            case _:
                return self._string(name)

    def _string(self, name):
        random = self.random
        if name in self._words:
            words = self._words[name]
            if words:
                pool = words if random.random() < 0.8 else values.WORDS
                return random.choice(pool).encode()
            if random.random() >= self.flaw:
                return values.number_text(random).encode()
        return values.text(random).encode()

    def _array(self, element, contents):
        """The bytes of a DoubleArray … StringArray of these values."""
        wire_type = _WIRE_TYPE[element]
        if element == "string":
            made = [self.text(1, content) for content in contents]
        elif not self.odd and not self.broken:
            return self.field(1, b"".join(contents)) if contents else b""
        else:
            made = self._runs(wire_type, contents)
        while self.oddly():
            made.insert(self.random.randint(0, len(made)), self.stray(_ARRAYS[element]))
        return b"".join(made)

    def _runs(self, wire_type, contents):
        """Values packed, unpacked, or in several runs of both."""
        random = self.random
        made = []
        way = random.choice(("packed", "packed", "unpacked", "mixed"))
        start = 0
        while start < len(contents):
            stop = random.randint(start + 1, len(contents)) if way == "mixed" else len(contents)
            if way == "unpacked" or (way == "mixed" and random.random() < 0.5):
                made += [self.tag(1, wire_type) + content for content in contents[start:stop]]
            else:
                run = b"".join(contents[start:stop])
                if self.breaks():
                    run = random.choice((run[:-1], run + b"\0", run + b"\x80"))
                made.append(self.field(1, run))
            start = stop
        if self.oddly():
            made.insert(random.randint(0, len(made)), self.field(1, b""))
        return made

    def value_of(self, element, is_array, contents):
        """The fields of a DataType, a list: what it says and what it takes back again."""
        number = VALUE_FIELDS[f"{element}_{'array' if is_array else 'value'}"][0]
        if is_array:
            if len(contents) > 1 and self.oddly():
                cut = self.random.randint(0, len(contents))
                halves = (contents[:cut], contents[cut:])
                parts = [self.field(number, self._array(element, half)) for half in halves]
            else:
                parts = [self.field(number, self._array(element, contents))]
        elif element == "string":
            parts = [self.text(number, contents[0])]
        else:
            parts = [self.tag(number, _WIRE_TYPE[element]) + contents[0]]
        while self.oddly():
            parts.insert(0, self._replaced())
        while self.oddly():
            parts.insert(self.random.randint(0, len(parts)), self.stray(_VALUE))
        return parts

    def _replaced(self):
        """A field of the oneof that a later one replaces, or, being of the same array, precedes."""
        kind = self.random.choice(KINDS)
        element, _, shape = kind.partition("_")
        number = VALUE_FIELDS[kind][0]
        if shape == "array":
            contents = [self._element(element) for _ in range(self.random.randint(0, 2))]
            return self.field(number, self._array(element, contents))
        if element == "string":
            return self.text(number, self._element(element))
        return self.tag(number, _WIRE_TYPE[element]) + self._element(element)

    def value(self, name):
        """The fields of a DataType for this feature; most of the time it is accepted."""
        random = self.random
        flawed = random.random() < self.flaw
        accepted = self._accepted.get(name)
        units = self._units.get(name, 1)
        if accepted is None or (flawed and random.random() < 0.4):
            element = random.choice(("double", "float", "integer", "long", "string"))
        else:
            element = random.choice(accepted)
        if flawed and random.random() < 0.5:
            units = random.choice((0, 1, units - 1, units + 1, units * 2))
        is_array = units != 1 or random.random() < 0.4
        return self.value_of(element, is_array, [self._element(element, name) for _ in range(units)])

    # ---- entries, rows, requests ------------------------------------------------------------

    def entry(self, name):
        """The bytes of a map entry."""
        random = self.random
        key = self.text(1, name)
        if random.random() < 0.03:
            return key + (self.field(2, b"") if random.random() < 0.5 else b"")  # no value set
        fields = self.value(name)
        if not self.odd and not self.broken:
            return key + self.field(2, b"".join(fields))
        if len(fields) > 1 and random.random() < 0.3:
            cut = random.randint(0, len(fields))
            parts = [self.field(2, b"".join(fields[:cut])), self.field(2, b"".join(fields[cut:]))]
        else:
            parts = [self.field(2, b"".join(fields))]
        if not self.oddly():
            parts.insert(0, key)
        elif random.random() < 0.3:
            parts.append(key)  # behind its value
        elif random.random() < 0.5:
            parts = [self.text(1, random.choice((*values.WORDS, *self.setup.order))), *parts, key]
        while self.odd and random.random() < self.odd / 3:
            parts.insert(random.randint(0, len(parts)), self.stray(_ENTRY))
        return b"".join(parts)

    def names(self):
        """Names of a row's entries."""
        random = self.random
        names = list(self.setup.order)
        match random.randrange(5):
            case 0:
                random.shuffle(names)
            case 1:
                names = random.sample(names, random.randint(0, len(names)))
            case 2:
                names.reverse()
        if random.random() < 0.2:
            stranger = random.choice(("nobody asked", "", names[0][:-1] if names else "q", "x" * 129))
            if stranger not in self.setup.order:
                names.insert(random.randint(0, len(names)), stranger)
        while names and self.oddly():
            names.insert(random.randint(0, len(names)), random.choice(names))  # a key twice
        return names

    def row(self):
        """The bytes of an InputRow."""
        random = self.random
        parts = [self.field(2, self.entry(name)) for name in self.names()]
        if random.random() < 0.8:
            at = random.randint(0, len(parts)) if self.oddly() else 0
            parts.insert(at, self.text(1, random.choice((f"row {random.randint(0, 99)}", *values.WORDS))))
        while self.oddly():
            parts.insert(random.randint(0, len(parts)), self.stray(_ROW))
        if self.oddly():
            parts.insert(random.randint(0, len(parts)), self._scores())
        if self.odd and random.random() < self.odd / 3:
            parts.append(groups(random.randint(95, 99)))
        return b"".join(parts)

    def _scores(self):
        """A field 3 of a row: nothing here, scores in a log."""
        return self.random.choice(
            (
                self.field(3, b"\0\0\x80\x3f"),
                self.field(3, b"\0\0\x80"),
                self.tag(3, I32) + b"\0\0\x80\x3f",
                tag(3, VARINT) + varint(7),
                groups(1, 3),
                groups(3, 3),
            )
        )

    def request(self, rows=None):
        """The bytes of an InferenceRequest."""
        random = self.random
        if rows is None:
            rows = random.choice((0, 1, 1, 1, 1, 2, 2, 3, 5))
        parts = [self.field(2, self.row()) for _ in range(rows)]
        if random.random() < 0.6:
            at = random.randint(0, len(parts)) if self.oddly() else 0
            parts.insert(at, self.text(1, random.choice(("request", *values.WORDS))))
        while self.oddly():
            parts.insert(random.randint(0, len(parts)), self.stray(_REQUEST))
        made = b"".join(parts)
        return made[: random.randint(0, len(made))] if self.breaks() else made


def any_request(random, setup, rows=None):
    """A request of any sort: plain, odd, flawed, or broken in a place or two."""
    match random.randrange(8):
        case 0 | 1:
            maker = Maker(random, setup)
        case 2 | 3:
            maker = Maker(random, setup, odd=random.choice((0.02, 0.1, 0.3)))
        case 4:
            maker = Maker(random, setup, flaw=0.05)
        case 5:
            maker = Maker(random, setup, odd=0.05, flaw=0.05)
        case 6:
            maker = Maker(random, setup, odd=0.05, flaw=0.02, broken=random.choice((0.003, 0.01)))
        case _:
            maker = Maker(random, setup, broken=0.01)
    return maker.request(rows)


def floats(features, row_id="row"):
    """A plain row of float values, for examples: the bytes of an InputRow."""
    made = tag(1, LEN) + varint(len(row_id)) + row_id.encode() if row_id else b""
    for name, number in features.items():
        key = name.encode()
        entry = b"\x0a" + varint(len(key)) + key + b"\x12\x05\x15" + struct.pack("<f", number)
        made += b"\x12" + varint(len(entry)) + entry
    return made

"""Protobuf's wire format by hand, as ordinary and as strange as it may be, and beyond.

A Scribe writes tags, lengths and varints. With `odd` they take more bytes than needed now and then,
which is legal; with `broken` something that must not decode comes in between.
"""

VARINT, I64, LEN, SGROUP, EGROUP, I32 = range(6)
_ALL_ONES = (1 << 64) - 1


def varint(number):
    """`number` in base 128, shortest form; negative ones as 64-bit two's complement."""
    number &= _ALL_ONES
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def overlong(number, size):
    """`number` as a varint of exactly `size` bytes (what does not fit is lost)."""
    groups = [number >> 7 * i & 0x7F for i in range(size)]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def tag(number, wire_type):
    """A field's tag, shortest form."""
    return varint(number << 3 | wire_type)


def field(number, content):
    """A length-delimited field, shortest form; str as UTF-8."""
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | LEN) + varint(len(content)) + content


def groups(depth, number=15):
    """Empty groups, one in the other."""
    return tag(number, SGROUP) * depth + tag(number, EGROUP) * depth


_STRANGE_NUMBERS = (3, 4, 5, 11, 12, 15, 16, 17, 18, 100, 900, 2047, 2048, 19_000, 2**28, 2**29 - 1)

NOT_UTF8 = (
    b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"\x80", b"abc\xe2\x82",
    b"\xc1\xbf", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf5\x80\x80\x80", b"a" * 40 + b"\xfe", b"\xc3",
    b"ok\xc3\x28", b"\xe2\x28\xa1", b"\xf0\x9f\x98", b"\xf8\x88\x80\x80\x80",
)  # fmt: skip


class Scribe:
    """Writes what a generator decides, in the words that its random numbers choose."""

    def __init__(self, random, odd=0.0, broken=0.0):
        self.random = random
        self.odd = odd
        self.broken = broken

    def oddly(self):
        """Whether to do something legal that nobody does."""
        return self.odd > 0 and self.random.random() < self.odd

    def breaks(self):
        """Whether to do something that must not decode."""
        return self.broken > 0 and self.random.random() < self.broken

    def varint(self, number):
        """A value: up to ten bytes."""
        plain = varint(number)
        if self.breaks():
            return overlong(number & _ALL_ONES, self.random.randint(11, 12))
        if self.oddly():
            made = bytearray(overlong(number & _ALL_ONES, self.random.randint(len(plain), 10)))
            if len(made) == 10:
                made[9] |= self.random.choice((0, 0, 2, 0x7E))  # beyond bit 63: lost
            return bytes(made)
        return plain

    def _small(self, number):
        """A tag or a length: up to five bytes."""
        plain = varint(number)
        if self.breaks():
            if self.random.random() < 0.5:
                return overlong(number, self.random.randint(6, 10))
            made = bytearray(overlong(number, 5))
            made[4] |= self.random.choice((0x08, 0x10, 0x20, 0x7F))  # from bit 31 on
            return bytes(made)
        if self.oddly():
            return overlong(number, self.random.randint(len(plain), 5))
        return plain

    def tag(self, number, wire_type):
        """A tag."""
        return self._small(number << 3 | wire_type)

    def field(self, number, content):
        """A length-delimited field of bytes."""
        size = len(content)
        if self.breaks():
            size = max(0, size + self.random.choice((-2, -1, 1, 2, 100, 2**31 - 1 - size, 2**31 - size)))
        return self._small(number << 3 | LEN) + self._small(size) + content

    def text(self, number, content):
        """A string field of str or bytes, not UTF-8 where it breaks."""
        content = content.encode() if isinstance(content, str) else content
        if self.breaks():
            at = self.random.choice((0, len(content)))
            content = content[:at] + self.random.choice(NOT_UTF8) + content[at:]
        return self.field(number, content)

    def stray(self, known):
        """An unknown field; `known` has the wire types of each number that this message knows."""
        random = self.random
        if self.breaks():
            return self.breakage()
        number = random.choice((*known, *known, *_STRANGE_NUMBERS))
        allowed = known.get(number, ())
        wire_type = random.choice([kind for kind in (VARINT, I64, LEN, SGROUP, I32) if kind not in allowed])
        return self.tag(number, wire_type) + self._content(number, wire_type, 0)

    def _content(self, number, wire_type, depth):
        random = self.random
        if wire_type == VARINT:
            return self.varint(random.choice((0, 1, 127, 128, 2**32, -1, random.getrandbits(64))))
        if wire_type == LEN:
            content = random.choice((b"", b"\xff\xfe", b"\x0a\x01x", random.randbytes(random.randint(0, 20))))
            return self._small(len(content)) + content
        if wire_type == SGROUP:
            return self._group(depth) + self.tag(number, EGROUP)
        return random.randbytes(8 if wire_type == I64 else 4)

    def _group(self, depth):
        """What is inside a group: fields of any number, known to the message or not."""
        random = self.random
        if depth == 0 and random.random() < 0.1:
            return groups(random.randint(90, 100))
        inside = b""
        for _ in range(random.randint(0, 2)):
            if self.breaks():
                inside += self.breakage()
            number = random.choice((1, 2, 3, 7, 15, 5000))
            wire_type = random.choice(
                (VARINT, I64, LEN, I32) if depth > 3 else (VARINT, I64, LEN, SGROUP, I32)
            )
            inside += self.tag(number, wire_type) + self._content(number, wire_type, depth + 1)
        return inside

    def breakage(self):
        """Bytes that no message may hold at this place."""
        random = self.random
        number = random.choice((1, 2, 3, 9, 900))
        return random.choice(
            (
                tag(0, random.choice((VARINT, I64, LEN, SGROUP, I32))) + b"\0",
                overlong(0, 3) + b"\1",
                tag(number, 6) + b"\1",
                tag(number, 7) + b"\1",
                tag(number, EGROUP),
                tag(number, SGROUP),
                tag(number, SGROUP) + tag(number + 1, EGROUP),
                tag(9, VARINT) + overlong(1, 11),
                tag(9, LEN) + b"\x7f",
                tag(9, LEN) + varint(2**31),
                tag(9, LEN) + varint(2**32 - 1),
                tag(9, LEN) + varint(2**64 - 1),
                tag(9, I64) + b"\0",
                tag(9, VARINT) + b"\x80",
                b"\x80",
                b"\xff" * 11,
                groups(random.randint(98, 103)),
            )
        )

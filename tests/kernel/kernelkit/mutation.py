"""Damage: bits turned, bytes cut out, doubled, moved, put in; messages cut short or joined."""

_BYTES = (
    0x00,
    0x01,
    0x02,
    0x03,
    0x07,
    0x08,
    0x0A,
    0x0B,
    0x0C,
    0x0D,
    0x12,
    0x13,
    0x14,
    0x15,
    0x1A,
    0x2A,
    0x52,
)
_EDGES = (0x7E, 0x7F, 0x80, 0x81, 0xC0, 0xED, 0xF4, 0xFF)


def mutated(random, message, other=b""):
    """The message, damaged in one place or a few; `other` is one to take pieces from."""
    data = bytearray(message)
    for _ in range(random.choice((1, 1, 1, 1, 1, 1, 2, 4))):
        size = len(data)
        at = int(random.random() * (size + 1))
        chance = int(random.random() * 20)
        if chance < 14 and at < size:  # in place: lengths stay right, so that much of this decodes
            if chance < 6:
                data[at] ^= 1 << int(random.random() * 8)
            elif chance < 10:
                data[at] = random.choice(_BYTES + _EDGES)
            else:
                data[at] = (data[at] + random.choice((1, 8, 255, 248))) & 0xFF
        elif chance < 15:
            del data[at : at + random.choice((1, 1, 2, 3, 8, 20))]
        elif chance < 16:
            data[at:at] = data[at : at + random.choice((1, 2, 5, 10, 40))]
        elif chance < 17:
            start = int(random.random() * len(other))
            data[at:at] = other[start : start + random.choice((1, 3, 8, 30))]
        elif chance < 19:
            data[at:at] = bytes((random.choice(_BYTES + _EDGES),))
        else:
            del data[at:]
    return bytes(data)

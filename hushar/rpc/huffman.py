"""The Huffman code of HPACK (RFC 7541, appendix B), decoded by an automaton, or by zlib.

The code is canonical: the lengths below determine it. The automaton's states are the inner nodes of the
code's tree; what a byte does in a state (the symbols that it completes, the state after it) is worked out
when first met and remembered in a table that only grows to 256 × 256 entries. Headers use few of all
characters, so that after a while nearly every step is one look-up.

Longer strings are decoded in C. Deflate's Huffman codes are canonical too, at most 15 bits long, and 15
bits are enough for all characters that headers are made of. So a string, with the bits of each byte
reversed, is the content of a deflate block whose code has the same lengths, and what is left of the code
(15 ones, where HPACK has its rare characters and EOS) is the end of that block. An inflater that has read
the head of such a block is copied for every string. The padding, which is ones, and 15 ones more end the
block; how many of these were needed tells that nothing but proper padding followed the last character.
Wherever that is not certain the automaton decides, which alone refuses strings.
"""

import zlib
from collections.abc import Iterable
from typing import Any, Final

LENGTHS: Final = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08060606"
    "0505050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817"
    "181816171817171717151617161717181615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a17"
    "1a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
"""Bits of the code of each byte, and of EOS (256)."""
_LENGTH_OF_BYTE: Final = LENGTHS[:256]
_EOS: Final = 256
_MAX_PADDING_BITS: Final = 7

_LONG: Final = 16
"""From this many bytes on zlib is faster."""
_MAX_DEFLATE_BITS: Final = 15
_END: Final = b"\xff\x7f"
"""15 ones and a zero, so that no character that the string leaves unfinished is followed by 15 ones."""
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""HPACK fills bytes from their highest bit, deflate from their lowest."""


class BadHuffman(ValueError):
    """EOS inside a string, or padding that is too long or not all ones (RFC 7541, section 5.2)."""


def _tree() -> list[list[int]]:
    """Inner nodes as [node or symbol for 0, for 1]: nodes are numbers ≥ 0, a symbol s is ~s."""
    nodes: list[list[int]] = [[0, 0]]
    code = 0
    last = 0
    for symbol in sorted(range(257), key=lambda each: (LENGTHS[each], each)):
        length = LENGTHS[symbol]
        code <<= length - last
        last = length
        node = 0
        for shift in range(length - 1, 0, -1):
            bit = code >> shift & 1
            if not nodes[node][bit]:
                nodes.append([0, 0])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][code & 1] = ~symbol
        code += 1
    return nodes


def _padded(nodes: list[list[int]]) -> frozenset[int]:
    """The states in which a string may end: up to seven ones after the last symbol."""
    states = []
    node = 0
    for _ in range(8):
        states.append(node)
        node = nodes[node][1]
    return frozenset(states)


def _deflate_head() -> bytes:
    """What comes before a string in a deflate stream (RFC 1951, section 3.2.7): the code.

    An empty block before it puts its end at the end of a byte.
    """
    lengths = [bits if bits <= _MAX_DEFLATE_BITS else 0 for bits in LENGTHS[:256]]
    lengths.append(_MAX_DEFLATE_BITS)  # the end of the block
    fields: list[tuple[int, int]] = [(0, 1), (1, 2), (0, 7)]  # the empty block, of fixed codes
    fields += [(1, 1), (2, 2)]  # the last block, of a code of its own
    fields += [(len(lengths) - 257, 5), (1, 5), (15, 4)]  # codes for characters, distances, lengths
    # The lengths 0 to 15 have codes of four bits, each its own number; repetitions are not used.
    fields += [(0, 3)] * 3 + [(4, 3)] * 16
    codes = [*lengths, 0, 0]  # and no distances
    fields += [(int(f"{length:04b}"[::-1], 2), 4) for length in codes]
    return _packed(fields)


def _packed(fields: Iterable[tuple[int, int]]) -> bytes:
    """Numbers of so many bits each, from the lowest bit of the first byte on."""
    whole, at = 0, 0
    for number, bits in fields:
        whole |= number << at
        at += bits
    return whole.to_bytes(at // 8, "little")


class HuffmanDecoder:
    """Both decoders. One is enough for a process; it holds nothing of what it decodes.

    A state of the automaton is a list: for each byte the state after it and the symbols that it completes
    (None until the byte is first met there), and in the last place whether a string may end here.
    """

    def __init__(self) -> None:
        self._nodes = _tree()
        may_end = _padded(self._nodes)
        self._states: list[list[Any]] = [[None] * 256 + [node in may_end] for node in range(len(self._nodes))]
        self._failed: list[Any] = [None] * 256 + [False]
        self._failed[:256] = [(self._failed, b"")] * 256
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(_deflate_head())
        self._inflater = inflater.copy

    def decode(self, data: bytes) -> bytes:
        """The string behind Huffman-coded `data`. Raises BadHuffman."""
        if len(data) >= _LONG:
            inflater = self._inflater()
            # A character has at least five bits.
            text = inflater.decompress(data.translate(_REVERSED) + _END, 2 * len(data))
            unused = len(inflater.unused_data)
            # The end took 15 ones. With up to six of them from the padding both bytes of ours are used up;
            # with seven one is left, and so it is with more, which are too many: then bits are counted.
            if inflater.eof and (
                not unused
                or (unused == 1 and 8 * len(data) - sum(text.translate(_LENGTH_OF_BYTE)) <= _MAX_PADDING_BITS)
            ):
                return text
        state = self._states[0]
        parts = []
        for byte in data:
            step = state[byte]
            if step is None:
                step = state[byte] = self._step(state, byte)
            state, symbols = step
            parts.append(symbols)
        if not state[256]:
            raise BadHuffman("EOS in a string, or bad padding")
        return b"".join(parts)

    def _step(self, state: list[Any], byte: int) -> tuple[list[Any], bytes]:
        """Where a byte leads from a state, and the symbols on the way."""
        node = next(index for index, known in enumerate(self._states) if known is state)
        symbols = bytearray()
        for shift in range(7, -1, -1):
            node = self._nodes[node][byte >> shift & 1]
            if node < 0:
                if ~node == _EOS:
                    return self._failed, b""
                symbols.append(~node)
                node = 0
        return self._states[node], bytes(symbols)

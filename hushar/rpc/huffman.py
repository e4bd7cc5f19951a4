"""The Huffman code of HPACK (RFC 7541, appendix B), decoded a byte at a time.

The code is canonical: the lengths below determine it. The decoder is an automaton whose states are the
inner nodes of the code's tree; what a byte does in a state (the symbols that it completes, the state
after it) is worked out when first met and remembered in a table that only grows to 256 × 256 entries.
Headers use few of all characters, so that after a while nearly every step is one look-up.
"""

from typing import Any, Final

_LENGTHS: Final = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b08060606"
    "0505050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817"
    "181816171817171717151617161717181615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a17"
    "1a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
"""Bits of the code of each byte, and of EOS (256)."""
_EOS: Final = 256


class BadHuffman(ValueError):
    """EOS inside a string, or padding that is too long or not all ones (RFC 7541, section 5.2)."""


def _tree() -> list[list[int]]:
    """Inner nodes as [node or symbol for 0, for 1]: nodes are numbers ≥ 0, a symbol s is ~s."""
    nodes: list[list[int]] = [[0, 0]]
    code = 0
    last = 0
    for symbol in sorted(range(257), key=lambda each: (_LENGTHS[each], each)):
        length = _LENGTHS[symbol]
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


class HuffmanDecoder:
    """The automaton with its table. One is enough for a process; it holds nothing of what it decodes.

    A state is a list: for each byte the state after it and the symbols that it completes (None until the
    byte is first met there), and in the last place whether a string may end here.
    """

    def __init__(self) -> None:
        self._nodes = _tree()
        may_end = _padded(self._nodes)
        self._states: list[list[Any]] = [[None] * 256 + [node in may_end] for node in range(len(self._nodes))]
        self._failed: list[Any] = [None] * 256 + [False]
        self._failed[:256] = [(self._failed, b"")] * 256

    def decode(self, data: bytes) -> bytes:
        """The string behind Huffman-coded `data`. Raises BadHuffman."""
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

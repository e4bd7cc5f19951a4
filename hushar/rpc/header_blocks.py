"""Header blocks (HPACK, RFC 7541): the decoder with its dynamic table, and an encoder without one.

Field order and duplicates are kept. Decoding changes the table, so every block of a connection has to
be decoded, also that of a call that is refused; whoever remembers what a block decoded to must forget
it when `changes` has moved, since then the same bytes may mean other fields.

The encoder never refers to a dynamic table: whatever size the peer allows, nothing is in it, and equal
fields are equal bytes, which is what makes constant header blocks possible (and the peer's memo hit).
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from hushar.rpc.huffman import BadHuffman, HuffmanDecoder

Field = tuple[bytes, bytes]

_STATIC_TEXT: Final = (
    ":authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|"
    ":status 204|:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|"
    "accept-encoding gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|"
    "allow|authorization|cache-control|content-disposition|content-encoding|content-language|"
    "content-length|content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|"
    "if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location|"
    "max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|server|"
    "set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
)
STATIC: Final[tuple[Field, ...]] = tuple(
    (name.encode(), value.encode())
    for name, _, value in (entry.partition(" ") for entry in _STATIC_TEXT.split("|"))
)
"""RFC 7541, appendix A; index 1 is STATIC[0]."""

DEFAULT_TABLE_BYTES: Final = 4096
ENTRY_OVERHEAD: Final = 32
"""What an entry counts beside its name and value (section 4.1)."""
_STATIC_ENTRIES: Final = len(STATIC)
_FIRST_DYNAMIC: Final = len(STATIC) + 1
_MAX_INTEGER: Final = 2**32
"""No length and no index is larger; longer encodings are an attack (section 5.1)."""
_HUFFMAN = HuffmanDecoder()

_INDEX_OF: Final[Mapping[Field, int]] = {
    field: index for index, field in reversed(list(enumerate(STATIC, 1)))
}
_INDEX_OF_NAME: Final[Mapping[bytes, int]] = {
    name: index for index, (name, _) in reversed(list(enumerate(STATIC, 1)))
}


class CompressionError(ValueError):
    """A block that cannot be decoded: the table is lost, and with it the connection (section 2.2)."""


class HeaderDecoder:
    """The decoding half of a connection."""

    def __init__(self, max_table_bytes: int = DEFAULT_TABLE_BYTES) -> None:
        """`max_table_bytes`: SETTINGS_HEADER_TABLE_SIZE as we have announced it."""
        self.changes = 0
        """Counts every change of the table, and every change of its size."""
        self.indexed: list[Field] = []
        """Of the last block: the fields that were references to a table, in order."""
        self.literals: list[Field] = []
        """Of the last block: the others, in order."""
        self.before_literals = 0
        """Of the last block: how many of `indexed` came before the first literal."""
        self._allowed = max_table_bytes
        self._limit = max_table_bytes
        self._table: deque[Field] = deque()
        self._size = 0

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a block in wire order. Raises CompressionError.

        Fields are shared with the table: however small a block and large its list, little is copied.
        """
        self.literals = []
        try:
            return self._decode(block)
        except (IndexError, BadHuffman) as error:
            # An index beyond the table, a string or an integer beyond the block.
            raise CompressionError(str(error)) from error

    def _decode(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        indexed = self.indexed = []
        table = self._table
        at, end = 0, len(block)
        while at < end:
            byte = block[at]
            if byte & 0x80:
                if byte < 0xFF:
                    index, at = byte & 0x7F, at + 1
                else:
                    index, at = _integer(block, at, 0x7F)
                is_static = index <= _STATIC_ENTRIES
                field = self._field(index) if is_static else table[index - _FIRST_DYNAMIC]
                indexed.append(field)
                fields.append(field)
                continue
            if byte & 0x60 == 0x20:
                if fields:
                    raise CompressionError("a size update after a field")
                at = self._resize(block, at)
                continue
            field, at = self._literal(block, at, 0x3F if byte & 0x40 else 0x0F)
            if byte & 0x40:
                self._insert(field)
            if not self.literals:
                self.before_literals = len(indexed)
            self.literals.append(field)
            fields.append(field)
        return fields

    def _field(self, index: int) -> Field:
        if index < 1:
            raise CompressionError("index 0")
        return STATIC[index - 1] if index <= _STATIC_ENTRIES else self._table[index - _FIRST_DYNAMIC]

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[Field, int]:
        index = block[at] & mask
        if index == mask:
            index, at = _integer(block, at, mask)
        else:
            at += 1
        if index:
            name = self._field(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at

    def _insert(self, field: Field) -> None:
        self.changes += 1
        size = len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
        if self._size + size > self._limit:
            self._evict(self._limit - size)
        if size <= self._limit:
            self._table.appendleft(field)
            self._size += size

    def _evict(self, room: int) -> None:
        """Drop the oldest entries until the table takes at most `room` bytes; all of them if need be."""
        while self._table and self._size > room:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD

    def _resize(self, block: bytes, at: int) -> int:
        limit, at = _integer(block, at, 0x1F)
        if limit > self._allowed:
            raise CompressionError("a table larger than announced")
        self.changes += 1
        self._limit = limit
        self._evict(limit)
        return at


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """An integer with a prefix of as many bits as `mask` has (section 5.1)."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if value > _MAX_INTEGER or shift > 28:
            raise CompressionError("an integer too large")
        if byte < 0x80:
            return value, at
        shift += 7


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    byte = block[at]
    length = byte & 0x7F
    if length == 0x7F:
        length, at = _integer(block, at, 0x7F)
    else:
        at += 1
    end = at + length
    if end > len(block):
        raise CompressionError("a string beyond the block")
    data = block[at:end]
    return (_HUFFMAN.decode(data) if byte & 0x80 else data), end


def list_size(fields: Iterable[Field]) -> int:
    """The size of a header list as RFC 9113, section 6.5.2, counts it."""
    return sum(len(name) + len(value) + ENTRY_OVERHEAD for name, value in fields)


def encode(fields: Iterable[Field]) -> bytes:
    """A block that needs no table: static entries by index, all else literal and not indexed."""
    out = bytearray()
    for name, value in fields:
        index = _INDEX_OF.get((name, value))
        if index is not None and value:
            out.append(0x80 | index)
            continue
        index = _INDEX_OF_NAME.get(name)
        if index is None:
            out.append(0)
            _put_string(out, name)
        else:
            _put_integer(out, index, 0x0F)
        _put_string(out, value)
    return bytes(out)


def _put_string(out: bytearray, data: bytes) -> None:
    _put_integer(out, len(data), 0x7F)
    out += data


def _put_integer(out: bytearray, value: int, mask: int) -> None:
    if value < mask:
        out.append(value)
        return
    out.append(mask)
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)

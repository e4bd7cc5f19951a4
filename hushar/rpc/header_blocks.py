"""Header blocks (HPACK, RFC 7541): the decoder with its dynamic table, and an encoder without one.

Field order and duplicates are kept. Decoding changes the table, so every block of a connection has to
be decoded, also that of a call that is refused; whoever remembers what a block decoded to must forget
it when `changes` has moved, since then the same bytes may mean other fields.

The encoder never refers to a dynamic table: whatever size the peer allows, nothing is in it, and equal
fields are equal bytes, which is what makes constant header blocks possible (and the peer's memo hit).
"""

from collections.abc import Iterable, Mapping, Sequence
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
_FIRST_DYNAMIC: Final = len(STATIC) + 1
_NO_FIELD: Final[Field] = (b"", b"")
"""Stands at index 0, which nothing may refer to."""
_INDEXED_MASK: Final = 0x3F
"""Of the index in a literal that enters the table (section 6.2.1)."""
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
        self.literals: list[int] = []
        """Of the last block: the places, among its fields, of those that were no references to a table."""
        self.literal_bytes = 0
        """Of the last block: the size of those fields, as `list_size` counts."""
        self._allowed = max_table_bytes
        self._limit = max_table_bytes
        self._room = max_table_bytes
        self._table: list[Field] = [_NO_FIELD, *STATIC]
        """By index: the static table, then the dynamic one, the newest entry first. One list, so that a
        reference is one look-up; making room at its front moves few pointers, since few entries fit."""

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a block in wire order. Raises CompressionError, and cannot be used after that.

        Fields are shared with the table: however small a block and large its list, little is copied.
        """
        fields: list[Field] = []
        self.literals = []
        self.literal_bytes = 0
        table = self._table
        try:
            # Most blocks begin with references; a loop over bytes is the cheapest way through them.
            for byte in block:
                if byte <= 0x80 or byte == 0xFF:
                    break
                fields.append(table[byte & 0x7F])
            at, end = len(fields), len(block)
            while at < end:
                byte = block[at]
                if byte & 0xC0 == 0x40:
                    at = self._literal(block, at, _INDEXED_MASK, fields)
                elif 0x80 < byte < 0xFF:
                    at += 1
                    fields.append(table[byte & 0x7F])
                elif byte & 0xE0 == 0:
                    at = self._literal(block, at, 0x0F, fields)
                elif byte == 0xFF:
                    index, at = _integer(block, at, 0x7F)
                    fields.append(table[index])
                elif byte == 0x80 or fields:
                    raise CompressionError("index 0, or a size update after a field")
                else:
                    at = self._resize(block, at)
        except (IndexError, BadHuffman) as error:
            # An index beyond the table, a string or an integer beyond the block.
            raise CompressionError(str(error)) from error
        return fields

    def _literal(self, block: bytes, at: int, mask: int, fields: list[Field]) -> int:
        """Read a literal field, whose index of a name has as many bits as `mask`; returns where it ends.

        The usual forms, a name by an index of one or two bytes and a value of less than 127, are read here.
        """
        index = block[at] & mask
        at += 1
        if index:
            if index == mask:
                index += block[at]
                at += 1
                if index >= mask + 0x80:
                    index, at = _integer(block, at - 2, mask)
            name = self._table[index][0]
        else:
            name, at = _string(block, at)
        byte = block[at]
        if byte & 0x7F != 0x7F:
            at += 1
            end = at + (byte & 0x7F)
            if end > len(block):
                raise CompressionError("a string beyond the block")
            value = block[at:end]
            if byte & 0x80:
                value = _HUFFMAN.decode(value)
        else:
            value, end = _string(block, at)
        field = name, value
        size = len(name) + len(value) + ENTRY_OVERHEAD
        self.literals.append(len(fields))
        self.literal_bytes += size
        fields.append(field)
        if mask == _INDEXED_MASK:
            self.changes += 1
            table = self._table
            room = self._room - size
            # The oldest make room; a method of its own would cost more than it does.
            while room < 0 and len(table) > _FIRST_DYNAMIC:
                name, value = table.pop()
                room += len(name) + len(value) + ENTRY_OVERHEAD
            if room >= 0:
                self._room = room
                table.insert(_FIRST_DYNAMIC, field)
            else:
                # Larger than the table, which it has emptied.
                self._room = self._limit
        return end

    def _resize(self, block: bytes, at: int) -> int:
        """A size update. A peer may send several at the start of a block (section 4.2); none is demanded,
        since we never announce less than the default."""
        limit, at = _integer(block, at, 0x1F)
        if limit > self._allowed:
            raise CompressionError("a table larger than announced")
        self.changes += 1
        table = self._table
        room = self._room + limit - self._limit
        while room < 0:
            name, value = table.pop()
            room += len(name) + len(value) + ENTRY_OVERHEAD
        self._room = room
        self._limit = limit
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
    """A string, plain or by Huffman's code (section 5.2)."""
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


def list_size(fields: Sequence[Field]) -> int:
    """The size of a header list as RFC 9113, section 6.5.2, counts it."""
    size = ENTRY_OVERHEAD * len(fields)
    for name, value in fields:
        size += len(name) + len(value)
    return size


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

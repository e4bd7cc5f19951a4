"""Heads of calls that send something new each time: a time-out, a trace's id.

Such clients put what is new into the dynamic table, so that no header block ever comes twice; but the
fields beside it are the same each time, and so is what they mean. A head that is known from these is
varied: what is new is checked and added. Whatever is more than that takes the general way, by all fields.
"""

from collections.abc import Callable, Sequence
from typing import Final

from hushar.rpc.header_blocks import Field, HeaderDecoder, list_size
from hushar.rpc.request_head import RequestHead, is_text, is_value
from hushar.rpc.status import BadTimeout, parse_timeout

_KNOWN_NAMES: Final = 64
"""Names, and bytes of a name, that are remembered as a client's own."""
_TIMEOUT: Final = b"grpc-timeout"
_NEW_HEAD: Final = object.__new__
"""`vary_head` fills every field itself."""


class Variations:
    """The heads of a connection's blocks that are like the last of them."""

    def __init__(
        self,
        decoder: HeaderDecoder,
        find: Callable[[tuple[Field, ...]], RequestHead | None],
        *,
        max_fields: int,
        max_bytes: int,
    ) -> None:
        """`find` gives the head of fields that blocks have in common, None where they make none.

        What is above `max_fields` fields, or `max_bytes` as `list_size` counts, takes the general way.
        """
        self._decoder = decoder
        self._find = find
        self._max_fields = max_fields
        self._max_bytes = max_bytes
        self._known: RequestHead | None = None
        self._last: list[Field] = []
        """All fields of `_known`, the pseudo-headers too."""
        self._checked: set[bytes] = set()

    def head(self, fields: list[Field]) -> RequestHead | None:
        """The head of the block that the decoder has read last, whose fields these are.

        It equals what `parse_head` makes of them. None where it takes the general way.
        """
        decoder = self._decoder
        literals = decoder.literals
        if not literals or len(fields) > self._max_fields or decoder.literal_bytes > self._max_bytes:
            return None
        places = self._new_ones(fields, literals)
        known = self._known
        if places is None or known is None or known.refusal is not None or known.http_status is not None:
            return None
        if not places:
            return known
        size = decoder.literal_bytes
        if len(places) < len(literals):
            size = list_size([fields[place] for place in places])
        if known.size + size > self._max_bytes:
            return None
        return vary_head(known, fields, places, size, self._checked)

    def read(self, block: bytes) -> RequestHead | None:  # noqa: ARG002
        """Decode a block that begins a usual call, if its head can be varied; if not, None: nothing changed.

        Usual is a call whose route collects its one request, and whose time is not over. Only the compiled
        twin can take a decoder back to where it was: here it is always None.
        """
        return None

    def _new_ones(self, fields: list[Field], literals: list[int]) -> list[int] | None:
        """The places of what stands beside the fields of `_known`; None where it is not to be varied."""
        indexed = fields.copy()
        for place in reversed(literals):
            del indexed[place]
        if indexed == self._last:
            return literals
        places = self._beside_last(fields)
        if places is not None and set(places) <= set(literals):
            # A field that was dropped from the table came as a literal again, and is what it was.
            return places
        for place in literals:
            name = fields[place][0]
            if name != _TIMEOUT and not is_text(name):
                return None
        self._known = self._find(tuple(indexed))
        self._last = indexed
        return literals

    def _beside_last(self, fields: list[Field]) -> list[int] | None:
        """The places of the fields that are not the last ones; None if some of those are not there."""
        last = self._last
        at, end = 0, len(last)
        places = []
        for place, field in enumerate(fields):
            if at < end and field == last[at]:
                at += 1
            else:
                places.append(place)
        return places if at == end else None


def vary_head(
    known: RequestHead, fields: Sequence[Field], literals: Sequence[int], size: int, checked: set[bytes]
) -> RequestHead | None:
    """The head of `fields`, which are those of `known` and, at the places `literals`, some others.

    What `parse_head` would make of them, or None: where `known` is not to be served, and where a field
    among the others is more than a time-out or a client's own text. `size` is that of the others. `checked`
    are names that were found to be a client's own before, here, where nearly every call has the same.
    """
    pseudo = known.pseudo
    if literals[0] < pseudo or known.refusal is not None or known.http_status is not None:
        return None
    timeout = known.timeout
    for place in literals:
        name, value = fields[place]
        if name == _TIMEOUT:
            if timeout is not None:
                return None
            try:
                timeout = parse_timeout(value)
            except BadTimeout:
                return None
            continue
        if name not in checked:
            if not is_text(name):
                return None
            if len(checked) < _KNOWN_NAMES >= len(name):
                checked.add(name)
        # Letters, digits and hyphens, the usual value, are told by cheaper means than a regular expression.
        if not value.replace(b"-", b"").isalnum() and not is_value(value):
            return None
    head = _NEW_HEAD(RequestHead)
    head.scheme = known.scheme
    head.path = known.path
    head.authority = known.authority
    head.fields = fields[pseudo:]
    head.content_length = known.content_length
    head.timeout = timeout
    head.encoding = known.encoding
    head.accept = known.accept
    head.http_status = None
    head.bodiless = False
    head.refusal = None
    head.pseudo = pseudo
    head.size = known.size + size
    head.route = known.route
    return head

"""What a server's connections share."""

import struct

import hpack
import pytest

from hushar.rpc.limits import Limits
from hushar.rpc.server_context import Budget, ServerContext


def fields_of(block):
    return hpack.Decoder().decode(block)


@pytest.mark.parametrize(
    ("compression", "accepted"),
    [(("gzip", "deflate"), "identity,gzip,deflate"), (("gzip",), "identity,gzip"), ((), "identity")],
)
def test_every_answer_says_what_is_accepted(compression, accepted):
    context = ServerContext(Limits(compression=compression), {})
    assert dict(fields_of(context.leading))["grpc-accept-encoding"] == accepted
    assert context.offered == {name.encode() for name in compression}


def test_the_constant_parts_are_whole_frames():
    context = ServerContext(Limits(), {})
    packed = context.before_message.pack(
        context.leading_head, 4, 7, context.leading, 8 << 8, 0, 7, 0, 3
    ) + b"abc" + context.after_message.pack(context.trailing_head, 5, 7, context.trailing)  # fmt: skip
    kinds, at = [], 0
    while at < len(packed):
        head, flags, stream = struct.unpack_from(">IBI", packed, at)
        kinds.append((head & 0xFF, flags, stream))
        at += 9 + (head >> 8)
    assert (kinds, at) == ([(1, 4, 7), (0, 0, 7), (1, 5, 7)], len(packed))
    assert fields_of(context.trailing) == [("grpc-status", "0")]


def test_a_budget_is_a_servers_own():
    first, second = ServerContext(Limits(), {}), ServerContext(Limits(), {})
    first.budget.calls += 1
    assert second.budget.calls == 0
    shared = Budget(max_calls=5)
    assert ServerContext(Limits(), {}, shared).budget is shared

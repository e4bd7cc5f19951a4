"""What a server's connections share."""

import struct

import hpack
import pytest
from purerpc import Status, StatusCode

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


class TestRefusal:
    def test_it_is_the_common_fields_the_status_and_the_metadata(self):
        context = ServerContext(Limits(), {})
        status = Status(StatusCode.RESOURCE_EXHAUSTED, "full: ä")
        for _ in range(2):
            assert fields_of(context.refusal(status, [(b"grpc-retry-pushback-ms", b"12")])) == [
                *fields_of(context.leading),
                ("grpc-status", "8"),
                ("grpc-message", "full: %C3%A4"),
                ("grpc-retry-pushback-ms", "12"),
            ]
        assert fields_of(context.refusal(Status(StatusCode.INTERNAL), None))[-1] == ("grpc-status", "13")

    def test_what_differs_in_anything_is_another(self):
        context = ServerContext(Limits(), {})
        statuses = [
            Status(StatusCode.INTERNAL, "a"),
            Status(StatusCode.INTERNAL, "b"),
            Status(StatusCode.UNKNOWN, "a"),
        ]
        metadata = [None, [(b"a", b"1")], [(b"a", b"2")], [(b"a", b"1"), (b"a", b"2")]]
        blocks = [context.refusal(status, trailing) for status in statuses for trailing in metadata]
        assert len(set(blocks)) == len(statuses) * len(metadata)
        assert blocks == [context.refusal(status, trailing) for status in statuses for trailing in metadata]

    def test_what_is_kept_is_little(self):
        context = ServerContext(Limits(), {})
        for number in range(3000):
            context.refusal(Status(StatusCode.INTERNAL, f"row {number}"), None)
            context.refusal(Status(StatusCode.INTERNAL, f"row {number} " + "x" * 5000), None)
            context.refusal(Status(StatusCode.INTERNAL), [(b"number", b"%d" % number * 1000)])
        kept = [*context._refusals, *context._refusals.values()]
        assert len(kept) <= 600
        assert all(len(block) <= 512 for block in context._refusals.values())

"""The header block that begins a call, read by another decoder."""

import hpack
import pytest

from hushar.rpc.request_block import request_block, timeout_field
from hushar.rpc.status import BadMetadata


def test_a_block_is_the_same_for_the_same_call_and_needs_no_table():
    block = request_block("https", "h:1", "/s/M", [(b"x", b"1"), (b"x", b"2")], "agent")
    assert block == request_block("https", "h:1", "/s/M", [(b"x", b"1"), (b"x", b"2")], "agent")
    decoder = hpack.Decoder()
    fields = decoder.decode(block)
    assert fields[:4] == [(":method", "POST"), (":scheme", "https"), (":path", "/s/M"), (":authority", "h:1")]
    assert fields[-3:] == [("user-agent", "agent"), ("x", "1"), ("x", "2")]
    assert len(decoder.header_table.dynamic_entries) == 0


@pytest.mark.parametrize("value", [b"1n", b"99999999H"])
def test_a_time_out_can_be_appended(value):
    assert hpack.Decoder().decode(timeout_field(value)) == [("grpc-timeout", value.decode())]


@pytest.mark.parametrize("name", [b"te", b"host", b"content-type", b"connection", b"user-agent"])
def test_a_name_of_the_transports_own_is_refused(name):
    with pytest.raises(BadMetadata, match=name.decode()):
        request_block("http", "h", "/s/M", [(name, b"x")])

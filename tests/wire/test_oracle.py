"""h2 (the hyper project's, as purerpc uses it) hears the same bytes: it must have heard the same.

h2 3.2 knows no gRPC and no limits, so conversations keep to what both take for HTTP/2. What h2 refuses, we
refuse (most of it with a stream error or a connection error where h2 knows only the latter); what h2 lets
pass and we do not is listed.
"""

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.rpc import events as ev
from hushar.rpc.calls import RawCall

H2_TAKES = {"RST_STREAM on an idle stream"}
"""Faults that h2 3.2 lets pass; RFC 9113, 6.4, makes this one a connection error."""


class Heard:
    """What one side has heard of each stream."""

    def __init__(self):
        self.fields = {}
        self.bodies = {}
        self.ended = set()
        self.reset = set()


def heard_by_h2(said):
    """What h2 makes of it. Raises ProtocolError."""
    connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    connection.initiate_connection()
    connection.local_settings.max_concurrent_streams = 1000
    heard = Heard()
    for piece in said:
        for event in connection.receive_data(piece):
            match event:
                case RequestReceived():
                    heard.fields[event.stream_id] = [tuple(field) for field in event.headers]
                    heard.bodies[event.stream_id] = b""
                case DataReceived():
                    heard.bodies[event.stream_id] += event.data
                case StreamEnded():
                    heard.ended.add(event.stream_id)
                case StreamReset():
                    heard.reset.add(event.stream_id)
                case TrailersReceived():
                    pass
    return heard


def heard_by_us(wire, said):
    talk = wire.Talk(greet=False, connection_concurrency=1000)
    heard = Heard()
    for event in talk.say(*said):
        match event:
            case RawCall():
                heard.ended.add(event.id)
                heard.bodies[event.id] = wire.message(event.message)
            case ev.StreamBegun(call):
                heard.bodies[call.id] = b""
            case ev.MessageReceived(call, message, _):
                heard.bodies[call.id] += wire.message(message)
            case ev.HalfClosed(call):
                heard.ended.add(call.id)
            case ev.CallAborted(call):
                heard.reset.add(call.id)
    return heard, talk


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_calls_are_heard_as_h2_hears_them(wire, data):
    said = [wire.PREFACE + wire.settings(), *data.draw(wire.conversations())]
    theirs = heard_by_h2(said)
    ours, talk = heard_by_us(wire, said)
    assert not talk.engine.failed
    answered = {one.stream: one.get("grpc-status") for one in talk.hear() if one.kind == "HEADERS"}
    for stream, fields in theirs.fields.items():
        if stream in answered:
            # gRPC's own refusals: no such method, a bad time-out, no message or two of them.
            assert answered[stream] in ("12", "13", "4")
        elif stream in theirs.reset:
            assert stream in ours.reset
        else:
            assert (stream in ours.ended) == (stream in theirs.ended)
            if stream in ours.bodies:
                assert ours.bodies[stream] == theirs.bodies[stream]
                assert (b":path", fields[2][1]) in fields


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_header_lists_are_those_that_h2_decodes(wire, data):
    said = [wire.PREFACE + wire.settings(), *data.draw(wire.conversations())]
    theirs = heard_by_h2(said).fields
    _, talk = heard_by_us(wire, said)
    for call in talk.calls():
        regular = [field for field in theirs[call.id] if not field[0].startswith(b":")]
        assert list(call.head.fields) == regular


def test_what_h2_refuses_is_refused(wire):
    let_pass = set()
    for name, fault in wire.FAULTS.items():
        said = [wire.PREFACE + wire.settings(), wire.headers(1), fault(3)]
        _, talk = heard_by_us(wire, said)
        assert any(one.kind in ("GOAWAY", "RST_STREAM") for one in talk.hear()), name
        try:
            theirs = heard_by_h2(said)
        except ProtocolError:
            continue
        if not theirs.reset:
            let_pass.add(name)
    assert let_pass == H2_TAKES

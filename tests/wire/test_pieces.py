"""Bytes come in any pieces: what the engine makes of them does not depend on where they are cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.rpc import events as ev
from hushar.rpc.calls import RawCall


def described(event):
    match event:
        case RawCall():
            return "call", event.id, event.message, event.head.fields
        case ev.MessageReceived(call, message, wire_bytes):
            return "message", call.id, message, wire_bytes
        case ev.StreamBegun(call) | ev.HalfClosed(call) | ev.CallAborted(call):
            return type(event).__name__, call.id
        case _:
            return event


def outcome(wire, pieces):
    """Events, what the engine sends, what it sends once the calls are answered, and the memory it holds."""
    talk = wire.Talk(greet=False)
    events = [described(event) for event in talk.say(*pieces)]
    said = talk.engine.data_to_send()
    for call in talk.calls():
        call.reply(call.message)
    return events, said, talk.engine.data_to_send(), talk.budget


def cut_at(data, places):
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_cuts_give_the_same_events_and_output(wire, data):
    said = data.draw(wire.conversations(faulty=True))
    whole = wire.PREFACE + wire.settings() + b"".join(said)
    places = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=20)))
    assert outcome(wire, cut_at(whole, places)) == outcome(wire, [whole])


@pytest.mark.parametrize("faulty", [False, True], ids=["a call", "a fault"])
def test_a_byte_at_a_time(wire, faulty):
    said = (
        wire.call(1, b"abc", ("x-a", "b"))
        + wire.headers(3)
        + wire.data(3, wire.message(b"def"), pad=3, end=True)
    )
    whole = wire.PREFACE + wire.settings() + said + (wire.window_update(0, 0) if faulty else wire.ping())
    assert outcome(wire, [bytes((byte,)) for byte in whole]) == outcome(wire, [whole])


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_wrong_preface_is_noticed_at_its_first_wrong_byte(wire, cut):
    wrong = wire.PREFACE[:cut] + b"x"
    assert outcome(wire, [wrong]) == outcome(wire, [bytes((byte,)) for byte in wrong])
    assert wire.Talk(greet=False).ask(wrong)[-1] == "goaway PROTOCOL_ERROR"


def test_the_rest_of_a_frame_that_is_too_large_is_never_kept(wire):
    """RFC 9113, 4.2: only its stream ends, however it comes."""
    talk = wire.Talk()
    talk.say(wire.headers(1))
    talk.say(wire.frame("DATA", 0, 1, length=2**20 + 1))
    for _ in range(2**20 // 1024):
        talk.say(bytes(1024))
    assert not talk.engine._chunks
    assert talk.ask(b"\0" + wire.ping()) == ["ping ack", "reset 1 FRAME_SIZE_ERROR"]


def test_a_frame_in_bytes_costs_little_more_than_its_size(wire):
    talk = wire.Talk()
    talk.say(wire.headers(1), wire.frame("DATA", 1, 1, length=100_005))
    for byte in wire.message(bytes(100_000)):
        talk.engine.receive_data(bytes((byte,)), talk.now)
        assert len(talk.engine._chunks) <= 128
    assert talk.budget.calls == 1
    assert talk.engine.open_streams == 1

"""What a handler sees of a call."""

import math
from datetime import timedelta

import pytest
from purerpc import StatusCode

from hushar.rpc.status import BadMetadata

pytestmark = pytest.mark.usefixtures("way")


def call_with(wire, *fields, peer="ipv4:127.0.0.1:1", **changed):
    talk = wire.Talk(peer=peer)
    talk.now = 50.0
    talk.say(wire.call(1, b"body", *fields, **changed))
    return talk.calls()[0]


class TestRequest:
    def test_it_has_purerpcs_fields(self, wire):
        request = call_with(
            wire, ("user-agent", "grpc-python/1.76"), ("grpc-timeout", "2S"), ("grpc-encoding", "gzip"),
            ("grpc-accept-encoding", "gzip"), ("grpc-message-type", "t.M"), ("te", "trailers"),
        ).request  # fmt: skip
        assert (request.service_name, request.method_name) == ("t.S", "Unary")
        assert (request.scheme, request.authority, request.stream_id) == ("http", "h", 1)
        assert request.content_type == "application/grpc"
        assert request.user_agent == "grpc-python/1.76"
        assert request.timeout == timedelta(seconds=2)
        assert request.message_encoding == request.message_accept_encoding == "gzip"
        assert request.message_type == "t.M"

    def test_what_was_not_sent_is_none(self, wire):
        request = call_with(wire).request
        assert request.user_agent is None
        assert request.timeout is None
        assert request.message_encoding is None
        assert request.deadline == math.inf

    def test_the_deadline_is_on_the_drivers_clock(self, wire):
        assert call_with(wire, ("grpc-timeout", "1500m")).request.deadline == 51.5

    def test_a_time_out_of_centuries_is_one(self, wire):
        request = call_with(wire, ("grpc-timeout", "99999999H")).request
        assert request.timeout == timedelta(hours=99_999_999)

    def test_metadata_is_the_clients_own_in_its_order(self, wire):
        fields = [
            ("x-b", "1"),
            ("x-a", "2"),
            ("x-b", "3"),
            ("d-bin", "AAE,Ag=="),
            ("user-agent", "me"),
            ("grpc-x", "y"),
        ]
        request = call_with(wire, *fields).request
        assert request.custom_metadata == (
            ("x-b", "1"), ("x-a", "2"), ("x-b", "3"), ("d-bin", b"\0\1"), ("d-bin", b"\2"),
        )  # fmt: skip

    def test_values_that_are_no_ascii_fail_nothing(self, wire):
        request = call_with(wire, ("x-utf", "ä".encode()), ("x-latin", b"\xe4")).request
        assert request.custom_metadata == (("x-utf", "ä"), ("x-latin", "ä"))

    def test_the_authority_may_be_host(self, wire):
        assert call_with(wire, ("host", "example"), authority=None).request.authority == "example"

    def test_the_peer_is_the_connections(self, wire):
        call = call_with(wire, peer="unix:")
        call.connection.peer_certificate = {"subject": ()}
        assert (call.request.peer, call.request.peer_certificate) == ("unix:", {"subject": ()})

    def test_it_is_the_same_object_each_time(self, wire):
        call = call_with(wire)
        assert call.request is call.request


class TestMetadata:
    @pytest.mark.parametrize(
        "pair", [("UPPER CASE", "x"), ("x", "new\nline"), ("grpc-status", "0"), ("x", "ä\0")]
    )
    def test_what_cannot_be_sent_is_an_error_at_once(self, wire, pair):
        with pytest.raises((BadMetadata, UnicodeEncodeError)):
            call_with(wire).request.set_trailing_metadata([pair])

    def test_leading_metadata_comes_before_the_first_message(self, wire):
        call = call_with(wire)
        call.request.set_leading_metadata([("x", "1")])
        call.request.set_leading_metadata([("x", "2")])
        assert call.leading == [(b"x", b"2")]
        call.reply(b"")
        with pytest.raises(RuntimeError):
            call.request.set_leading_metadata([("x", "3")])


class TestRawCall:
    def test_it_is_cancelled_when_nobody_waits_any_more(self, wire):
        for end in (lambda call: call.connection.lost(), lambda call: call.connection.expire(call)):
            call = call_with(wire)
            assert not call.cancelled
            end(call)
            assert call.cancelled

    def test_not_when_it_was_answered(self, wire):
        for answer in (lambda call: call.reply(b""), lambda call: call.fail(StatusCode.ABORTED)):
            call = call_with(wire)
            answer(call)
            assert not call.cancelled

    @pytest.mark.parametrize("message", [b"ab", bytearray(b"ab")])
    def test_any_bytes_are_an_answer(self, wire, message):
        call = call_with(wire)
        call.reply(message)
        assert b"".join([b"\0\0\0\0\2ab"]) in call.connection.data_to_send()

    def test_what_is_no_bytes_is_an_error_that_leaves_the_call_as_it_was(self, wire):
        call = call_with(wire)
        window = call.connection.send_window
        with pytest.raises(TypeError):
            call.reply("text")
        assert (call.over, call.connection.send_window) == (False, window)
        call.reply(b"bytes")
        assert call.over

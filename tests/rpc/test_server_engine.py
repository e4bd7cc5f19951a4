"""From header blocks to calls: memo, limits, hooks, refusals (RPC.md; RFC 9113, 5.1 and 8; RFC 7541)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from purerpc import RpcFailedError, Status, StatusCode

from hushar.rpc import events as ev
from hushar.rpc.server_context import Budget

pytestmark = pytest.mark.usefixtures("way")


def said(talk):
    return [str(one) for one in talk.hear()]


class TestMemo:
    """RELIABILITY.md 1: a remembered block must not outlive what it referred to."""

    def test_the_same_bytes_may_mean_other_fields(self, wire):
        talk = wire.Talk()
        base = wire.block()
        talk.say(
            wire.headers(1, base + wire.literal("x-tenant", "alice", 0x40))
            + wire.data(1, wire.message(), end=True)
        )
        for stream in (3, 5):
            talk.say(wire.headers(stream, base + b"\xbe") + wire.data(stream, wire.message(), end=True))
        talk.say(
            wire.headers(7, base + wire.literal("x-tenant", "bob", 0x40))
            + wire.data(7, wire.message(), end=True)
        )
        talk.say(wire.headers(9, base + b"\xbe") + wire.data(9, wire.message(), end=True))
        tenants = [dict(call.request.custom_metadata)["x-tenant"] for call in talk.calls()]
        assert tenants == ["alice", "alice", "alice", "bob", "bob"]

    @pytest.mark.parametrize("how", ["trailers", "a refused stream", "an ignored stream"])
    def test_whatever_block_changes_the_table(self, wire, how):
        talk = wire.Talk(connection_concurrency=2)
        base = wire.block()
        new = wire.literal("x-tenant", "bob", 0x40)

        def tenant_of(stream):
            talk.say(wire.headers(stream, base + b"\xbe") + wire.data(stream, wire.message(), end=True))
            talk.calls()[-1].reply(b"")
            return dict(talk.calls()[-1].request.custom_metadata)["x-tenant"]

        talk.say(wire.headers(1, base + wire.literal("x-tenant", "alice", 0x40)))
        assert tenant_of(3) == tenant_of(5) == "alice"
        match how:
            case "trailers":
                talk.say(wire.headers(1, new, end=True))
            case "a refused stream":
                talk.say(wire.headers(7) + wire.headers(9, base + new) + wire.rst(7))
            case "an ignored stream":
                talk.say(wire.window_update(1, 0) + wire.headers(1, new))
        assert tenant_of(11) == "bob"

    @pytest.mark.slow
    @settings(max_examples=100, deadline=None)
    @given(
        choices=st.lists(
            st.tuples(st.sampled_from(["x-a", "x-b", "user-agent"]), st.sampled_from(["1", "2"]),
                      st.sampled_from([0, 0x10, 0x40, "index"])),
            max_size=30,
        )
    )  # fmt: skip
    def test_it_never_says_anything_but_a_plain_decoder(self, wire, choices):
        """`hpack` decodes each block; whatever the engine remembers, it must say the same."""
        talk = wire.Talk()
        plain = wire.Decoder()
        entries = 0
        for index, (name, value, pattern) in enumerate(choices):
            if pattern == "index":
                field = bytes((0x80 | 62 + index % entries,)) if entries else b""
            else:
                field = wire.literal(name, value, pattern)
                entries = min(entries + (pattern == 0x40), 30)
            stream = 1 + 2 * index
            block = wire.block() + field
            talk.say(wire.headers(stream, block) + wire.data(stream, wire.message(), end=True))
            expected = [field for field in plain.decode(block, raw=True) if not field[0].startswith(b":")]
            assert list(talk.calls()[-1].head.fields) == [tuple(field) for field in expected]
            talk.calls()[-1].reply(b"")


class TestPlaces:
    def test_a_stream_too_many_is_refused_and_decoded(self, wire):
        talk = wire.Talk(connection_concurrency=1)
        assert talk.ask(wire.headers(1) + wire.headers(3, wire.block() + wire.literal("x-a", "b", 0x40))) == [
            "reset 3 REFUSED_STREAM"
        ]
        talk.say(
            wire.rst(1) + wire.headers(5, wire.block() + b"\xbe") + wire.data(5, wire.message(), end=True)
        )
        assert talk.calls()[0].request.custom_metadata == (("x-a", "b"),)

    def test_a_client_that_knows_the_limit_has_a_hundred(self, wire):
        talk = wire.Talk(connection_concurrency=1)
        talk.say(*[wire.headers(1 + 2 * index) for index in range(101)])
        assert not talk.engine.failed
        talk.say(wire.headers(203))
        assert said(talk)[-1] == "goaway ENHANCE_YOUR_CALM"

    def test_one_that_cannot_know_it_yet_has_more(self, wire):
        """Nothing runs before SETTINGS have come and gone, but clients do not wait for that."""
        talk = wire.Talk(greet=False, connection_concurrency=1)
        talk.say(wire.PREFACE + wire.settings(), *[wire.headers(1 + 2 * index) for index in range(900)])
        assert not talk.engine.failed
        assert said(talk)[-1] == "reset 1799 REFUSED_STREAM"
        talk.say(*[wire.headers(1801 + 2 * index) for index in range(200)])
        assert said(talk)[-1] == "goaway ENHANCE_YOUR_CALM"

    def test_an_answer_that_waits_keeps_its_place(self, wire):
        talk = wire.Talk(connection_concurrency=1)
        talk.ask(wire.settings(INITIAL_WINDOW_SIZE=0))
        talk.say(wire.call(1))
        talk.calls()[0].reply(b"abc")
        said(talk)
        assert talk.ask(wire.call(3)) == ["reset 3 REFUSED_STREAM"]

    def test_calls_of_all_connections_are_limited_too(self, wire):
        talk = wire.Talk(budget=Budget(max_calls=1))
        assert talk.ask(wire.call(1) + wire.headers(3)) == ["headers 3 200/8 end", "reset 3 NO_ERROR"]
        talk.calls()[0].reply(b"")
        assert talk.budget.calls == 0


class TestStreams:
    def test_ids_that_were_left_out_are_closed(self, wire):
        """RFC 9113, 5.1.1."""
        assert wire.Talk().ask(wire.headers(5) + wire.headers(3)) == ["goaway PROTOCOL_ERROR"]

    @pytest.mark.parametrize("late", ["headers", "data"])
    def test_nothing_comes_on_a_stream_that_is_over(self, wire, late):
        talk = wire.Talk()
        talk.ask(wire.headers(1, wire.block(path="/x"), end=True))
        sent = wire.headers(1) if late == "headers" else wire.data(1, b"x")
        assert talk.ask(sent) == ["goaway STREAM_CLOSED"]

    def test_except_where_we_have_reset_it(self, wire):
        talk = wire.Talk()
        talk.ask(wire.headers(1) + wire.window_update(1, 0))
        assert (
            talk.ask(wire.data(1, b"x"), wire.headers(1, b"", end=True), wire.priority(1), wire.rst(1)) == []
        )

    def test_a_second_header_block_ends_the_request(self, wire):
        """RFC 9113, 8.1: trailers have END_STREAM and no pseudo-header."""
        for trailers in (wire.headers(1, b""), wire.headers(1, b"\x83", end=True)):
            talk = wire.Talk()
            assert talk.ask(wire.headers(1), trailers) == ["reset 1 PROTOCOL_ERROR"]

    @pytest.mark.parametrize("path", ["/t.S/Unary", "/t.S/Up"])
    @pytest.mark.parametrize("many", [False, True])
    def test_trailers_that_are_too_large_end_the_call(self, wire, path, many):
        talk = wire.Talk(max_header_bytes=5000)
        trailers = wire.literal("a", "b") * 101 if many else wire.literal("x", "y" * 5000)
        said = talk.ask(
            wire.headers(1, wire.block(path=path)),
            wire.data(1, wire.message(b"x")),
            wire.headers(1, trailers, end=True),
        )
        assert said == ["headers 1 200/8 end"]
        assert talk.calls() == []
        assert talk.budget.calls == talk.budget.bytes == 0
        assert (type(talk.events[-1]) is ev.CallAborted) == (path == "/t.S/Up")

    def test_data_of_all_calls_that_were_refused_at_once_is_ignored(self, wire):
        """However many the client may begin before it knows."""
        talk = wire.Talk(connection_concurrency=3000)
        talk.budget.max_calls = 1
        streams = range(1, 6001, 2)
        talk.say(b"".join(wire.headers(stream) for stream in streams))
        talk.say(b"".join(wire.data(stream, wire.message(b"x"), end=True) for stream in streams))
        assert not talk.engine.failed
        assert len(talk.calls()) == 1

    def test_giant_trailers_are_the_end(self, wire):
        talk = wire.Talk(max_header_bytes=500)
        bomb = wire.literal("x", "y" * 450, 0x40) + b"\xbe" * 5
        assert talk.ask(wire.headers(1), wire.headers(1, bomb, end=True)) == ["goaway ENHANCE_YOUR_CALM"]

    def test_a_reset_aborts_exactly_its_call(self, wire):
        talk = wire.Talk()
        talk.say(wire.headers(1, wire.block(path="/t.S/Up")) + wire.call(3))
        (event,) = talk.say(wire.rst(1))
        assert isinstance(event, ev.CallAborted)
        assert event.call.cancelled
        assert not talk.calls()[0].over

    def test_a_malformed_request_costs_its_stream(self, wire):
        talk = wire.Talk()
        assert talk.ask(wire.headers(1, wire.block(("te", "gzip"))) + wire.ping()) == [
            "ping ack", "reset 1 PROTOCOL_ERROR",
        ]  # fmt: skip


class TestRefusals:
    @pytest.mark.parametrize("path", ["/t.S/None", "/t.S/unary", "/", "foo", "/a/b/c"])
    def test_there_is_no_such_method(self, wire, path):
        heard = wire.Talk().ask(wire.headers(1, wire.block(path=path), end=True))
        assert heard == ["headers 1 200/12 end"]

    @pytest.mark.parametrize(
        ("timeout", "code"), [("0m", 4), ("0H", 4), ("x", 13), ("123456789S", 13), ("-1S", 13)]
    )
    def test_time_outs(self, wire, timeout, code):
        talk = wire.Talk()
        heard = talk.ask(wire.headers(1, wire.block(("grpc-timeout", timeout), path="/t.S/Up"), end=True))
        assert heard == [f"headers 1 200/{code} end"]
        assert (talk.engine.timed, talk.events[1:]) == ([], [])

    def test_a_deadline_is_counted_from_the_header_block(self, wire):
        talk = wire.Talk()
        talk.now = 100.0
        talk.say(wire.headers(1, wire.block(("grpc-timeout", "1500m"))))
        (call,) = talk.engine.timed
        assert call.deadline == 101.5
        assert call.request.deadline == 101.5

    def test_too_many_fields(self, wire):
        talk = wire.Talk(max_header_fields=10)
        fields = [("x", "y")] * 6
        assert talk.ask(wire.headers(1, wire.block(*fields), end=True)) == ["headers 1 200/8 end"]
        talk.say(wire.call(3, b"", *fields[1:]))
        assert len(talk.calls()) == 1


class TestBeforeHooks:
    def test_they_see_the_request_before_its_body(self, wire):
        seen = []
        talk = wire.Talk(
            before=[lambda request: seen.append((request.service_name, request.custom_metadata))]
        )
        talk.say(wire.headers(1, wire.block(("x-a", "b"))))
        assert seen == [("t.S", (("x-a", "b"),))]

    def test_one_may_refuse(self, wire):
        def refuse(request):
            request.set_trailing_metadata([("x-why", "token")])
            raise RpcFailedError(Status(StatusCode.UNAUTHENTICATED, "who?"))

        asked = []
        talk = wire.Talk(before=[refuse, asked.append])
        talk.say(wire.headers(1, wire.block(path="/t.S/Stream")))
        trailers, reset = talk.hear()
        assert (trailers.get("grpc-status"), trailers.get("grpc-message")) == ("16", "who?")
        assert trailers.get("x-why") == "token"
        assert str(reset) == "reset 1 NO_ERROR"
        assert (asked, talk.events[1:], talk.budget.calls) == ([], [], 0)

    def test_one_that_fails_refuses_without_its_text(self, wire, caplog):
        def broken(request):
            raise ValueError("hunter2")

        talk = wire.Talk(before=[broken])
        talk.say(wire.headers(1, end=True))
        (trailers,) = talk.hear()
        assert (trailers.get("grpc-status"), trailers.get("grpc-message")) == ("13", "internal error")
        assert "hunter2" in caplog.text

    def test_a_call_that_is_refused_anyway_is_not_asked_about(self, wire):
        asked = []
        talk = wire.Talk(before=[asked.append])
        talk.say(wire.call(1, path="/t.S/None") + wire.call(3, b"", ("grpc-timeout", "0S")))
        assert asked == []

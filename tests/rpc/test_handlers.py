"""Ordinary methods: what a servicer's functions get, and what becomes of what they do."""

import logging
import math
import sys

import purerpc
import pytest
import trio

from hushar.rpc import Server
from hushar.rpc import frames as fr

OK, CANCELLED, DEADLINE, INTERNAL, UNAVAILABLE = 0, 1, 4, 13, 14


def serving(service, **settings):
    server = Server(0, **settings)
    server.add_service(service)
    return server


class TestCardinalities:
    async def test_unary(self, start, make_service, raw_message):
        async def double(message):
            return raw_message(message.data * 2)

        peer = await (await start(serving(make_service(unary={"Double": double}))))()
        await peer.send(peer.call(1, "/test.Service/Double", b"ab"))
        assert (await peer.end_of(1))[:2] == ([b"abab"], OK)

    async def test_a_stream_of_requests(self, start, make_service, raw_message):
        async def join(messages):
            return raw_message(b"+".join([message.data async for message in messages]))

        peer = await (await start(serving(make_service(up={"Join": join}))))()
        await peer.send(
            peer.headers(1, "/test.Service/Join"), peer.message(1, b"a", end=False), peer.message(1, b"b")
        )
        assert (await peer.end_of(1))[:2] == ([b"a+b"], OK)

    async def test_a_stream_of_requests_without_any(self, start, make_service, raw_message):
        async def join(messages):
            return raw_message(b"+".join([message.data async for message in messages]))

        peer = await (await start(serving(make_service(up={"Join": join}))))()
        await peer.send(peer.headers(1, "/test.Service/Join", end=True))
        assert (await peer.end_of(1))[:2] == ([b""], OK)

    async def test_a_stream_of_responses(self, start, make_service, raw_message):
        async def letters(message):
            for letter in message.data:
                yield raw_message(bytes((letter,)))

        peer = await (await start(serving(make_service(down={"Letters": letters}))))()
        await peer.send(peer.call(1, "/test.Service/Letters", b"abc"))
        assert (await peer.end_of(1))[:2] == ([b"a", b"b", b"c"], OK)

    async def test_both_streams_go_on_together(self, start, make_service):
        async def echo(messages):
            async for message in messages:
                yield message

        peer = await (await start(serving(make_service(both={"Echo": echo}))))()
        await peer.send(peer.headers(1, "/test.Service/Echo"), peer.message(1, b"a", end=False))
        assert (await peer.until(fr.DATA)).payload[5:] == b"a"
        await peer.send(peer.message(1, b"b"))
        assert (await peer.end_of(1))[:2] == ([b"b"], OK)

    async def test_more_messages_than_a_handler_takes_at_once_all_arrive_in_order(
        self, start, make_service, raw_message
    ):
        async def join(messages):
            return raw_message(b"".join([message.data async for message in messages]))

        peer = await (await start(serving(make_service(up={"Join": join}))))()
        letters = [bytes((97 + index % 26,)) for index in range(200)]
        frames = [peer.message(1, letter, end=False) for letter in letters]
        await peer.send(peer.headers(1, "/test.Service/Join"), *frames, peer.message(1, b"!"))
        assert (await peer.end_of(1))[0] == [b"".join(letters) + b"!"]

    async def test_a_handler_may_answer_before_it_has_read_everything(self, start, make_service):
        async def first(messages):
            return await anext(messages)

        peer = await (await start(serving(make_service(up={"First": first}))))()
        await peer.send(peer.headers(1, "/test.Service/First"), peer.message(1, b"a", end=False))
        assert (await peer.end_of(1))[:2] == ([b"a"], OK)
        reset = await peer.until(fr.RST_STREAM, 1)
        assert fr.word(reset.payload) == fr.NO_ERROR


class TestRequest:
    async def test_a_second_parameter_is_the_request(self, start, make_service, raw_message):
        seen = []

        async def look(message, request):
            seen.append(request)
            request.set_leading_metadata([("x-early", "1")])
            request.set_trailing_metadata([("x-late-bin", b"\x00\xff")])
            return message

        peer = await (await start(serving(make_service(unary={"Look": look}))))()
        metadata = [("x-a", "1"), ("x-b-bin", "AP8"), ("x-a", "2"), ("grpc-timeout", "5S")]
        await peer.send(peer.call(1, "/test.Service/Look", b"x", *metadata))
        _, status, fields = await peer.end_of(1)
        assert (status, fields["x-early"], fields["x-late-bin"]) == (OK, "1", "AP8")
        (request,) = seen
        assert request.custom_metadata == (("x-a", "1"), ("x-b-bin", b"\x00\xff"), ("x-a", "2"))
        assert request.timeout.total_seconds() == 5
        assert (request.service_name, request.method_name) == ("test.Service", "Look")
        assert request.peer.startswith("ipv4:127.0.0.1:")
        assert request.peer_certificate is None

    async def test_without_a_timeout_the_deadline_is_infinite(self, start, make_service):
        async def check(message, request):
            assert request.deadline == math.inf
            assert request.timeout is None
            return message

        peer = await (await start(serving(make_service(unary={"Check": check}))))()
        await peer.send(peer.call(1, "/test.Service/Check"))
        assert (await peer.end_of(1))[1] == OK

    async def test_leading_metadata_after_the_first_message_is_an_error(
        self, start, make_service, raw_message
    ):
        raised = []

        async def late(message, request):
            yield message
            with pytest.raises(RuntimeError) as caught:
                request.set_leading_metadata([("x-late", "1")])
            raised.append(caught.value)

        peer = await (await start(serving(make_service(down={"Late": late}))))()
        await peer.send(peer.call(1, "/test.Service/Late"))
        assert (await peer.end_of(1))[1] == OK
        assert len(raised) == 1

    async def test_the_scope_of_a_handler_has_the_calls_deadline(self, start, make_service):
        """So that what it calls in turn is held to it."""
        seen = []

        async def look(message, request):
            seen.append((trio.current_effective_deadline(), request.deadline))
            return message

        peer = await (await start(serving(make_service(unary={"Look": look}))))()
        await peer.send(peer.call(1, "/test.Service/Look", b"x", ("grpc-timeout", "9S")))
        await peer.end_of(1)
        ((effective, deadline),) = seen
        assert effective == deadline < math.inf


class TestEnds:
    @pytest.mark.parametrize("kind", ["unary", "down"])
    async def test_an_exception_is_internal_with_its_traceback_in_the_log_only(
        self, start, make_service, caplog, kind
    ):
        async def broken(message):
            raise ValueError("hunter2")

        async def broken_stream(message):
            yield message
            raise ValueError("hunter2")

        methods = {"unary": broken, "down": broken_stream}
        peer = await (await start(serving(make_service(**{kind: {"Broken": methods[kind]}}))))()
        await peer.send(peer.call(1, "/test.Service/Broken"))
        _, status, fields = await peer.end_of(1)
        assert (status, fields["grpc-message"]) == (INTERNAL, "internal error")
        assert "Traceback" in caplog.text
        assert "hunter2" in caplog.text

    @pytest.mark.parametrize("kind", ["unary", "down", "nursery", "raw", "before", "after"])
    async def test_sys_exit_ends_a_call_and_not_the_server(self, start, make_service, caplog, kind):
        async def leave(message):
            sys.exit(3)

        async def leave_stream(message):
            yield message
            sys.exit(3)

        async def leave_nursery(message):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(leave, message)

        async def echo(message):
            return message

        methods = {"down": {"down": {"Leave": leave_stream}}, "nursery": {"unary": {"Leave": leave_nursery}}}
        server = serving(make_service(**methods.get(kind, {"unary": {"Leave": leave, "Echo": echo}})))
        server.add_raw_unary("/test.Service/Raw", lambda calls: sys.exit(3))
        hook = {kind: lambda *_: sys.exit(3)} if kind in ("before", "after") else {}
        server.add_hook(**hook)
        connect = await start(server)
        peer = await connect()
        await peer.send(peer.call(1, "/test.Service/Raw" if kind == "raw" else "/test.Service/Leave"))
        assert (await peer.end_of(1))[1] == INTERNAL
        assert "SystemExit" in caplog.text
        await peer.send(fr.ping(b"12345678"))
        await peer.until(fr.PING)
        await connect()

    @pytest.mark.parametrize("kind", ["alone", "nursery"])
    async def test_a_keyboard_interrupt_ends_the_server(self, make_service, connect, kind):
        async def interrupt(message):
            if kind == "alone":
                raise KeyboardInterrupt
            async with trio.open_nursery():
                raise KeyboardInterrupt

        server = serving(make_service(unary={"Interrupt": interrupt}))

        async def run():
            async with trio.open_nursery() as nursery:
                peer = await connect(await nursery.start(server.serve_async))
                await peer.greet()
                await peer.send(peer.call(1, "/test.Service/Interrupt"))
                await trio.sleep(5)

        with pytest.raises(BaseExceptionGroup) as caught:
            await run()
        assert caught.value.subgroup(KeyboardInterrupt) is not None

    async def test_a_status_is_raised_as_an_exception_of_purerpc(self, start, make_service, caplog):
        async def refuse(message, request):
            request.set_trailing_metadata([("x-why", "because")])
            raise purerpc.NotFoundError("no such thing")

        peer = await (await start(serving(make_service(unary={"Refuse": refuse}))))()
        await peer.send(peer.call(1, "/test.Service/Refuse"))
        _, status, fields = await peer.end_of(1)
        assert (status, fields["grpc-message"], fields["x-why"]) == (5, "no such thing", "because")
        assert caplog.text == ""

    async def test_a_status_raised_inside_a_nursery_is_that_status(self, start, make_service):
        async def refuse(message):
            async with trio.open_nursery():
                raise purerpc.NotFoundError("no such thing")

        peer = await (await start(serving(make_service(unary={"Refuse": refuse}))))()
        await peer.send(peer.call(1, "/test.Service/Refuse"))
        assert (await peer.end_of(1))[1] == 5

    @pytest.mark.parametrize("kind", ["unary", "up"])
    async def test_a_message_that_cannot_be_read_is_internal_without_its_text(
        self, start, make_service, kind
    ):
        async def use(message):
            if kind == "up":
                return await anext(message)
            return message

        peer = await (await start(serving(make_service(**{kind: {"Use": use}}))))()
        await peer.send(peer.call(1, "/test.Service/Use", b"unreadable"))
        _, status, fields = await peer.end_of(1)
        assert status == INTERNAL
        assert "hunter2" not in fields["grpc-message"]

    async def test_a_deadline_cancels_the_handler(self, start, make_service, autojump_clock, caplog):
        ends = []

        async def slow(message):
            try:
                await trio.sleep(3600)
            finally:
                ends.append(trio.current_time())

        peer = await (await start(serving(make_service(unary={"Slow": slow}))))()
        begun = trio.current_time()
        await peer.send(peer.call(1, "/test.Service/Slow", b"x", ("grpc-timeout", "3S")))
        assert (await peer.end_of(1))[1] == DEADLINE
        assert ends == [pytest.approx(begun + 3)]
        assert caplog.text == ""

    async def test_however_it_meets_its_deadline_the_status_is_that(
        self, start, make_service, autojump_clock
    ):
        """The scope's own deadline and the server's come at the same moment, in any order."""

        async def slow(message):
            await trio.sleep(3600)

        peer = await (await start(serving(make_service(unary={"Slow": slow}))))()
        ids = range(1, 81, 2)
        await peer.send(
            *(peer.call(each, "/test.Service/Slow", b"x", ("grpc-timeout", "3S")) for each in ids)
        )
        statuses = {}
        while len(statuses) < len(ids):
            frame = await peer.until(fr.HEADERS)
            statuses[frame.stream_id] = dict(peer.decoder.decode(frame.payload))["grpc-status"]
        assert set(statuses.values()) == {"4"}

    async def test_a_deadline_of_0_never_begins_the_handler(self, start, make_service):
        begun = []

        async def note(message):
            begun.append(message)
            return message

        peer = await (await start(serving(make_service(unary={"Note": note}))))()
        await peer.send(peer.call(1, "/test.Service/Note", b"x", ("grpc-timeout", "0S")))
        assert (await peer.end_of(1))[1] == DEADLINE
        assert begun == []

    async def test_a_deadline_also_ends_a_call_whose_message_never_comes(
        self, start, make_service, autojump_clock
    ):
        async def never(message):
            raise AssertionError("not called")

        peer = await (await start(serving(make_service(unary={"Never": never}))))()
        await peer.send(peer.headers(1, "/test.Service/Never", ("grpc-timeout", "3S")))
        assert (await peer.end_of(1))[1] == DEADLINE

    @pytest.mark.parametrize("how", ["reset", "disconnect"])
    @pytest.mark.parametrize("kind", ["unary", "both"])
    async def test_a_client_that_leaves_cancels_its_handler(self, start, make_service, caplog, how, kind):
        begun, ended = trio.Event(), trio.Event()

        async def wait(message):
            begun.set()
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        async def wait_stream(messages):
            begun.set()
            try:
                async for message in messages:
                    yield message
            finally:
                ended.set()

        methods = {"unary": wait, "both": wait_stream}
        server = serving(make_service(**{kind: {"Wait": methods[kind]}}))
        peer = await (await start(server))()
        await peer.send(peer.headers(1, "/test.Service/Wait"), peer.message(1, b"x", end=kind == "unary"))
        await begun.wait()
        if how == "reset":
            await peer.send(fr.rst_stream(1, fr.CANCEL))
        else:
            await peer.aclose()
        with trio.fail_after(5):
            await ended.wait()
        assert server.in_flight == 0
        assert caplog.text == ""

    async def test_an_error_in_the_cleaning_up_of_a_cancelled_handler_writes_no_traceback(
        self, start, make_service, caplog
    ):
        caplog.set_level(logging.INFO)
        ended = trio.Event()

        async def wait(message):
            try:
                await trio.sleep_forever()
            finally:
                ended.set()
                raise OSError("the line is gone")

        peer = await (await start(serving(make_service(unary={"Wait": wait}))))()
        await peer.send(peer.call(1, "/test.Service/Wait"), fr.ping(b"12345678"))
        await peer.until(fr.PING)
        await peer.send(fr.rst_stream(1, fr.CANCEL))
        with trio.fail_after(5):
            await ended.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert caplog.text == ""

    async def test_a_call_that_is_over_before_its_handler_is_started_never_starts_it(
        self, start, make_service
    ):
        begun = []

        async def note(messages):
            begun.append(1)
            yield await anext(messages)

        server = serving(make_service(both={"Note": note}))
        peer = await (await start(server))()
        for stream_id in (1, 3, 5):
            await peer.send(peer.headers(stream_id, "/test.Service/Note"), fr.rst_stream(stream_id, 8))
        await peer.send(peer.call(7, "/test.Service/Note"))
        assert (await peer.end_of(7))[1] == OK
        assert begun == [1]
        assert server.in_flight == 0

    async def test_a_handler_that_lingers_keeps_its_place(self, start, make_service):
        """Else a peer that resets what it has begun runs more handlers than it has places."""
        leave, left = trio.Event(), trio.Event()

        async def linger(message):
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await leave.wait()
                left.set()

        async def echo(message):
            return message

        service = make_service(unary={"Linger": linger, "Echo": echo})
        peer = await (await start(serving(service, connection_concurrency=1)))()
        await peer.send(peer.call(1, "/test.Service/Linger"), fr.ping(b"12345678"))
        await peer.until(fr.PING)
        await peer.send(fr.rst_stream(1, fr.CANCEL), peer.call(3, "/test.Service/Echo"))
        assert (await peer.end_of(3))[1:] == (None, fr.REFUSED_STREAM)
        leave.set()
        await left.wait()
        await peer.send(peer.call(5, "/test.Service/Echo"))
        assert (await peer.end_of(5))[1] == OK


class TestSlowReaders:
    async def test_a_handler_waits_while_its_client_opens_no_window(
        self, start, make_service, raw_message, autojump_clock
    ):
        sent = []

        async def flood(message):
            for number in range(1000):
                sent.append(number)
                yield raw_message(bytes(10_000))

        service = make_service(down={"Flood": flood})
        peer = await (await start(serving(service, stream_send_buffer_bytes=100_000)))()
        await peer.send(peer.call(1, "/test.Service/Flood"))
        await trio.sleep(5)
        # What its window takes (65,535 bytes), and as much again as may wait.
        assert len(sent) <= 20

    async def test_it_goes_on_as_the_window_opens(self, start, make_service, raw_message):
        async def flood(message):
            for _ in range(100):
                yield raw_message(bytes(10_000))

        service = make_service(down={"Flood": flood})
        peer = await (await start(serving(service, stream_send_buffer_bytes=100_000)))()
        await peer.send(peer.call(1, "/test.Service/Flood"))
        received = 0
        while True:
            frame = await peer.frame()
            if frame.kind == fr.DATA:
                received += len(frame.payload)
                await peer.send(
                    fr.window_update(1, len(frame.payload)), fr.window_update(0, len(frame.payload))
                )
            elif frame.stream_id == 1 and frame.flags & fr.END_STREAM:
                break
        assert received == 100 * 10_005

    async def test_a_call_that_ends_while_its_handler_waits_for_room_frees_the_handler(
        self, start, make_service, raw_message
    ):
        ended = trio.Event()

        async def flood(message):
            try:
                while True:
                    yield raw_message(bytes(100_000))
            finally:
                ended.set()

        peer = await (await start(serving(make_service(down={"Flood": flood}))))()
        await peer.send(peer.call(1, "/test.Service/Flood"), fr.ping(b"12345678"))
        await peer.until(fr.PING)
        await peer.send(fr.rst_stream(1, fr.CANCEL))
        with trio.fail_after(5):
            await ended.wait()

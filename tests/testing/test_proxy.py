"""The proxy does to a request what its rules say, counts what it saw, and is transparent otherwise."""

import http.client
import json
import threading
import time
from contextlib import closing
from dataclasses import replace
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hushar.testing.faults import (
    ACCESS_DENIED,
    ENTITY_TOO_LARGE,
    EXPIRED_TOKEN,
    INTERNAL_ERROR,
    INVALID_ARGUMENT,
    NO_SUCH_BUCKET,
    SLOW_DOWN,
    THROTTLING,
    Fault,
    Hang,
    LoseAnswer,
    Refuse,
    Reset,
    Slow,
    Truncate,
    clock_skew,
)
from hushar.testing.proxy import FaultyProxy

BODY = bytes(range(256)) * 40
SIGNED_FOR = {
    name: {
        "Authorization": f"AWS4-HMAC-SHA256 Credential=K/20260101/us-east-1/{name}/aws4_request, Signature=0"
    }
    for name in ("s3", "monitoring", "kinesis")
}


class Upstream(BaseHTTPRequestHandler):
    """Answers with what it got; keeps it too."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.got.append((self.command, self.path, dict(self.headers), body))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"of the upstream"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def upstream():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    server.got = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def proxy(upstream):
    with FaultyProxy(f"http://127.0.0.1:{upstream.server_address[1]}") as proxy:
        yield proxy


def connect(proxy):
    return closing(http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=20))


def ask(proxy, method="PUT", target="/bucket/a/key.pb", body=BODY, headers=None):
    """(status, headers, body) of one request on a connection of its own."""
    with connect(proxy) as connection:
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()


def exchange(connection, body):
    connection.request("PUT", "/b/k", body)
    return connection.getresponse().read()


def statuses(proxy, count, **request):
    return [ask(proxy, **request)[0] for _ in range(count)]


class TestForwarding:
    def test_everything_passes_as_it_is(self, proxy, upstream):
        target = "/bucket/a%20key%2Fb.pb?x-id=PutObject&empty="
        status, headers, body = ask(
            proxy, target=target, headers={"X-Amz-Meta-One": "1", "Host": "s3.example"}
        )
        assert (status, headers["ETag"], body) == (200, '"of the upstream"', BODY)
        ((method, seen_target, seen_headers, seen_body),) = upstream.got
        assert (method, seen_target, seen_body) == ("PUT", target, BODY)
        assert seen_headers["X-Amz-Meta-One"] == "1"
        assert seen_headers["Host"] == "s3.example"

    def test_chunks_arrive_joined(self, proxy, upstream):
        with connect(proxy) as connection:
            connection.request("PUT", "/b/k", iter([b"one", b"two" * 5000]), encode_chunked=True)
            assert connection.getresponse().read() == b"one" + b"two" * 5000
            connection.request("PUT", "/b/k", iter([]), encode_chunked=True)
            assert connection.getresponse().read() == b""
        assert [body for *_, body in upstream.got] == [b"one" + b"two" * 5000, b""]

    def test_a_connection_is_used_again_and_a_client_may_wait_for_100_continue(self, proxy):
        with connect(proxy) as connection:
            connection.request("PUT", "/b/k", b"x", {"Expect": "100-continue"})
            assert connection.getresponse().read() == b"x"
            first = connection.sock
            connection.request("HEAD", "/b/k", b"four")
            response = connection.getresponse()
            assert (response.read(), response.headers["Content-Length"]) == (b"", "4")
            connection.request("GET", "/b/k")
            assert connection.getresponse().read() == b""
            assert connection.sock is first

    @pytest.mark.parametrize("upstream", ["https://127.0.0.1:1", "127.0.0.1:80", "http://127.0.0.1"])
    def test_what_is_behind_it_is_plain_http(self, upstream):
        with pytest.raises(ValueError, match="is not http://HOST:PORT"):
            FaultyProxy(upstream)


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            INTERNAL_ERROR,
            SLOW_DOWN,
            ACCESS_DENIED,
            EXPIRED_TOKEN,
            NO_SUCH_BUCKET,
            INVALID_ARGUMENT,
            ENTITY_TOO_LARGE,
            THROTTLING,
        ],
        ids=lambda fault: fault.code,
    )
    def test_an_error_of_the_service_is_answered_and_nothing_forwarded(self, fault, proxy, upstream):
        proxy.inject(fault)
        with connect(proxy) as connection:
            for _ in range(2):  # the connection stays usable
                connection.request("PUT", "/bucket/key", BODY)
                response = connection.getresponse()
                body = response.read()
                assert response.status == fault.status
                assert f"<Error><Code>{fault.code}</Code>".encode() in body
        assert upstream.got == []

    @pytest.mark.parametrize(
        ("service", "kind", "expected"),
        [
            (
                "kinesis",
                "application/x-amz-json-1.1",
                b'{"__type": "Throttling", "message": "Rate exceeded"}',
            ),
            (
                "monitoring",
                "application/cbor",
                b"\xa2\x79\x00\x06__type\x79\x00\x0aThrottling\x79\x00\x07message",
            ),
            (
                "monitoring",
                "application/x-www-form-urlencoded",
                b"<ErrorResponse><Error><Code>Throttling</Code>",
            ),
        ],
    )
    def test_each_service_has_its_own_errors(self, service, kind, expected, proxy):
        proxy.inject(THROTTLING, service=service)
        headers = {**SIGNED_FOR[service], "Content-Type": kind}
        status, _, body = ask(proxy, "POST", "/", b"Action=PutMetricData", headers)
        assert status == 400
        assert expected in body

    def test_a_skewed_clock_shows_in_the_date(self, proxy):
        proxy.inject(clock_skew(900))
        status, headers, body = ask(proxy)
        assert status == 403
        assert b"RequestTimeTooSkewed" in body
        assert 880 < parsedate_to_datetime(headers["Date"]).timestamp() - time.time() < 920

    def test_an_answer_may_say_when_to_come_again(self, proxy):
        proxy.inject(Refuse(503, "SlowDown", retry_after_seconds=7))
        assert ask(proxy)[1]["Retry-After"] == "7"

    @pytest.mark.parametrize("when", ["before", "middle", "after"])
    def test_a_reset_is_an_error_for_the_client_and_nothing_is_forwarded(self, when, proxy, upstream):
        proxy.inject(Reset(when), times=1)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            ask(proxy, body=bytes(8 << 20))
        assert upstream.got == []
        assert ask(proxy)[0] == 200

    def test_a_lost_answer_means_that_the_request_was_done(self, proxy, upstream):
        proxy.inject(LoseAnswer(), times=1)
        with pytest.raises(ConnectionResetError):
            ask(proxy)
        assert [body for *_, body in upstream.got] == [BODY]

    def test_a_truncated_answer_says_more_than_it_has(self, proxy):
        proxy.inject(Truncate(), times=1)
        with pytest.raises(http.client.IncompleteRead) as raised:
            ask(proxy)
        assert raised.value.partial == BODY[: len(BODY) // 2]

    def test_a_truncated_answer_without_a_body_is_cut_in_its_head(self, proxy, upstream):
        proxy.inject(Truncate(0.05), times=1)
        with pytest.raises(http.client.HTTPException):
            ask(proxy, body=b"")
        assert len(upstream.got) == 1

    @pytest.mark.parametrize("reading", [True, False])
    def test_a_hang_ends_with_the_time_or_with_the_proxy(self, reading, proxy, upstream):
        proxy.inject(Hang(0.05, reading=reading), times=1)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            ask(proxy, body=b"x")
        proxy.inject(Hang(reading=reading))
        with connect(proxy) as connection:
            connection.request("PUT", "/b/k", b"x")
            proxy.__exit__(None, None, None)
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                connection.getresponse()
        assert upstream.got == []

    def test_what_is_slow_is_right(self, proxy, upstream):
        proxy.inject(Slow(200_000))
        assert ask(proxy)[2] == BODY
        assert upstream.got[0][3] == BODY

    def test_a_fault_of_ones_own_reads_forwards_and_answers_as_it_likes(self, proxy, upstream):
        class Half(Fault):
            def act(self, exchange):
                answer = exchange.forward(exchange.read()[::2])
                exchange.answer(replace(answer, status=202, body=answer.body[::2]))

        proxy.inject(Half())
        status, headers, body = ask(proxy)
        assert (status, headers["ETag"], body) == (202, '"of the upstream"', BODY[::2][::2])
        assert upstream.got[0][3] == BODY[::2]

    def test_nobody_listens_for_a_while(self, proxy):
        url = proxy.url
        with connect(proxy) as kept:
            assert exchange(kept, b"x") == b"x"
            proxy.refuse_connections()
            proxy.refuse_connections()
            with pytest.raises(ConnectionRefusedError):
                ask(proxy)
            kept.auto_open = False
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
                exchange(kept, b"x")
        proxy.accept_connections()
        proxy.accept_connections()
        assert proxy.url == url
        assert ask(proxy)[0] == 200


class TestRules:
    def test_so_many_times_after_so_many(self, proxy):
        rule = proxy.inject(INTERNAL_ERROR, skip=2, times=3)
        assert statuses(proxy, 7) == [200, 200, 500, 500, 500, 200, 200]
        assert (rule.matched, rule.hits) == (7, 3)

    def test_only_for_what_it_is_about(self, proxy):
        proxy.inject(ACCESS_DENIED, operation="PutObject", key="bad/*")
        proxy.inject(INTERNAL_ERROR, when=lambda request: request.headers.get("x-odd") == "1")
        assert ask(proxy, target="/bucket/bad/1")[0] == 403
        assert ask(proxy, target="/bucket/b%61d/1")[0] == 403
        assert ask(proxy, target="/bucket/good/1")[0] == 200
        assert ask(proxy, "GET", "/bucket/bad/1", b"")[0] == 200
        assert ask(proxy, target="/bucket/bad/1", headers={"X-Odd": "1"})[0] == 403  # the first rule acts
        assert ask(proxy, target="/bucket/good/1", headers={"X-Odd": "1"})[0] == 500

    def test_for_a_period(self, upstream):
        now = [100.0]
        with FaultyProxy(f"http://127.0.0.1:{upstream.server_address[1]}", clock=lambda: now[0]) as proxy:
            proxy.inject(INTERNAL_ERROR, seconds=5)
            now[0] += 4.9
            assert ask(proxy)[0] == 500
            now[0] += 0.1
            assert ask(proxy)[0] == 200

    def test_for_a_block_until_stopped_and_until_cleared(self, proxy):
        with proxy.inject(INTERNAL_ERROR):
            assert statuses(proxy, 1) == [500]
        assert statuses(proxy, 1) == [200]
        first = proxy.inject(SLOW_DOWN)
        proxy.inject(ACCESS_DENIED)
        assert statuses(proxy, 1) == [503]
        first.stop()
        assert statuses(proxy, 1) == [403]
        proxy.clear()
        assert statuses(proxy, 1) == [200]

    def test_everything_is_counted(self, proxy):
        proxy.inject(INTERNAL_ERROR, times=1)
        statuses(proxy, 2, target="/bucket/a/1.pb")
        statuses(proxy, 1, target="/bucket/b/2.pb")
        ask(proxy, "POST", "/", json.dumps({}).encode(), {"X-Amz-Target": "Kinesis_20131202.PutRecords"})
        assert proxy.count() == 4
        assert proxy.count(operation="PutObject") == 3
        assert proxy.count(key="a/*") == 2
        assert proxy.count(operation="PutRecords") == 1
        assert [request.number for request in proxy.requests] == [1, 2, 3, 4]

    def test_many_clients_at_once(self, proxy):
        proxy.inject(INTERNAL_ERROR, times=10)
        found = []

        def run():
            found.extend(statuses(proxy, 10))

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (found.count(500), found.count(200), proxy.count()) == (10, 70, 80)

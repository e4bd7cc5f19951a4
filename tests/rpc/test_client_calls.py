"""When a call is sent again, and after how long."""

import pytest
from purerpc import Status, StatusCode

from hushar.rpc.client_calls import RETRY_MAX_SECONDS, RETRY_SECONDS, backoff, retry_delay
from hushar.rpc.client_engine import ClientCall

UNAVAILABLE = Status(StatusCode.UNAVAILABLE)


def call(*trailing, unprocessed=False):
    made = ClientCall(1, (0, 0), lambda _: None, None, None)
    made.trailing, made.unprocessed = trailing, unprocessed
    return made


def test_the_back_off_grows_to_its_limit_and_is_jittered():
    assert {0 <= backoff(n) <= min(RETRY_SECONDS * 2**n, RETRY_MAX_SECONDS) for n in range(100)} == {True}
    assert len({backoff(3) for _ in range(10)}) > 1
    assert 0 <= backoff(10**6) <= RETRY_MAX_SECONDS


def test_what_the_server_has_not_begun_comes_again_at_once_and_then_backs_off():
    assert retry_delay(call(unprocessed=True), UNAVAILABLE, 0, 0) == 0.0
    assert retry_delay(call(unprocessed=True), UNAVAILABLE, 50, 0) is not None


def test_unavailable_comes_again_as_often_as_that_is_wanted():
    assert [retry_delay(call(), UNAVAILABLE, n, 2) is not None for n in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    assert [retry_delay(None, UNAVAILABLE, n, 1) is not None for n in range(3)] == [True, False, False]


@pytest.mark.parametrize("code", [code for code in StatusCode if code is not StatusCode.UNAVAILABLE])
def test_no_other_status_does(code):
    assert retry_delay(call(), Status(code), 0, 9) is None


@pytest.mark.parametrize(
    ("pushback", "delay"), [(b"0", 0.0), (b"1500", 1.5), (b"-1", None), (b"", None), (b"1e3", None)]
)
def test_the_server_may_say_when(pushback, delay):
    assert retry_delay(call((b"grpc-retry-pushback-ms", pushback)), UNAVAILABLE, 0, 1) == delay


def test_but_not_how_often():
    assert retry_delay(call((b"grpc-retry-pushback-ms", b"0")), UNAVAILABLE, 1, 1) is None

"""What each failure is answered with, on the wire; after each the connection still serves.

One test a row of the project's table of statuses; where it says more than one input, each has its own.
"""

import contextlib
import gzip
import zlib

import pytest

OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 0, 3, 4, 8
UNIMPLEMENTED, INTERNAL = 12, 13
MIB = 1024 * 1024
ECHO = "/interop.Probe/Echo"
RAW = "/interop.Probe/RawEcho"
SECRET = "hunter2"


@pytest.fixture(params=[ECHO, RAW], ids=["ordinary", "raw"])
def echo(request):
    """A unary method, once ordinary and once registered raw: they fail alike."""
    return request.param


@pytest.fixture
def connect(frames):
    """connect(port): connections that are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda port: stack.enter_context(contextlib.closing(frames.Connection(port)))


@pytest.fixture
def connection(frames, connect, served):
    """A connection that has to serve a call after whatever the test did."""
    connection = connect(served.port)
    yield connection
    answer = connection.call(ECHO, frames.message(b"\n\2ok"))
    assert (answer.status, answer.data) == (OK, frames.message(b"\n\2ok"))


@pytest.fixture
def lost(connect, served):
    """A connection that the test loses."""
    return connect(served.port)


@pytest.mark.parametrize(
    "path",
    ["/interop.Probe/Nothing", "/no.Service/Echo", "/", "/foo", "foo", "/a/b/c", "/interop.probe/echo"],
)
def test_an_unknown_method_or_path_is_unimplemented(connection, path):
    answer = connection.call(path)
    assert answer.status == UNIMPLEMENTED
    assert answer.trailers_only
    assert answer.http_status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "application/json",
        "application/grpcfoo",
        "application/grpc-web",
        "application/grpc-web+proto",
        None,
    ],
)
def test_what_is_no_grpc_gets_http_status_415(connection, echo, content_type):
    assert connection.call(echo, content_type=content_type).http_status == 415


@pytest.mark.parametrize(
    "content_type",
    ["application/grpc", "application/grpc+proto", "application/grpc+json", "application/grpc;charset=utf-8"],
)
def test_all_content_types_of_grpc_are_served(connection, echo, content_type):
    assert connection.call(echo, content_type=content_type).status == OK


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
def test_another_method_than_post_gets_http_status_405(connection, echo, method):
    assert connection.call(echo, method=method).http_status == 405


def test_a_call_without_te_is_served(connection, echo):
    assert connection.call(echo, te=None).status == OK


def test_another_te_than_trailers_is_a_reset(connection, frames, echo):
    assert connection.call(echo, te="gzip").reset == frames.PROTOCOL_ERROR


def test_an_authority_that_differs_from_host_is_a_reset(connection, frames, echo):
    assert connection.call(echo, host="elsewhere").reset == frames.PROTOCOL_ERROR


def test_a_wrong_content_length_is_a_reset(connection, frames, echo):
    assert connection.call(echo, content_length="6").reset == frames.PROTOCOL_ERROR


def test_a_message_above_the_limit_is_refused_by_its_prefix(connection, frames, echo):
    stream = connection.begin(echo)
    connection.data(stream, frames.message(b"", length=4 * MIB + 1), end=False)
    assert connection.answer(stream).status == RESOURCE_EXHAUSTED


def test_a_message_of_exactly_the_limit_is_served(connection, frames):
    data = bytes(4 * MIB)
    assert connection.call(RAW, frames.message(data)).data == frames.message(data)


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)], ids=["gzip", "deflate"]
)
def test_a_message_that_inflates_above_the_limit_is_refused(connection, frames, echo, encoding, compress):
    bomb = compress(bytes(100 * MIB))
    answer = connection.call(echo, frames.message(bomb, flag=1), grpc_encoding=encoding)
    assert answer.status == RESOURCE_EXHAUSTED


def test_an_unknown_encoding_is_unimplemented_and_the_known_ones_are_named(connection, frames, echo):
    answer = connection.call(echo, frames.message(b"x", flag=1), grpc_encoding="brotli")
    assert answer.status == UNIMPLEMENTED
    accepted = {part.strip() for part in answer.leading["grpc-accept-encoding"].split(",")}
    assert accepted == {"identity", "deflate", "gzip"}


def test_an_unknown_encoding_that_is_not_used_is_served(connection, echo):
    assert connection.call(echo, grpc_encoding="brotli").status == OK


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_corrupt_compressed_message_is_internal(connection, frames, echo, encoding):
    answer = connection.call(echo, frames.message(b"not compressed", flag=1), grpc_encoding=encoding)
    assert answer.status == INTERNAL


@pytest.mark.parametrize("encoding", [None, "identity"])
def test_the_compressed_flag_without_an_encoding_is_internal(connection, frames, echo, encoding):
    assert connection.call(echo, frames.message(b"x", flag=1), grpc_encoding=encoding).status == INTERNAL


@pytest.mark.parametrize("flag", [2, 3, 128, 255])
def test_another_compressed_flag_is_internal(connection, frames, echo, flag):
    assert connection.call(echo, frames.message(b"x", flag=flag)).status == INTERNAL


@pytest.mark.parametrize("timeout", ["abc", "-1S", "123456789S", "1", "S", "1.5S", "1s", "", "1 S", "+1S"])
def test_a_bad_timeout_is_internal(connection, echo, timeout):
    answer = connection.call(echo, grpc_timeout=timeout)
    assert answer.status == INTERNAL
    assert answer.trailers_only


@pytest.mark.parametrize("timeout", ["99999999H", "99999999M", "5S", "60000m", "60000000u", "99999999n"])
def test_every_unit_of_a_timeout_is_known(connection, echo, timeout):
    assert connection.call(echo, grpc_timeout=timeout).status == OK


def test_a_timeout_of_nothing_is_over_at_once(connection, echo):
    assert connection.call(echo, grpc_timeout="0m").status == DEADLINE_EXCEEDED


def test_binary_metadata_that_is_no_base64_is_internal(connection, echo):
    answer = connection.call(echo, some_bin="*not base64*")
    assert answer.status == INTERNAL
    assert answer.trailers_only


@pytest.mark.parametrize("value", ["AAEC", "AAE=", "AAE", "", "AAE,AAI"])
def test_binary_metadata_may_be_padded_or_not(connection, echo, value):
    assert connection.call(echo, some_bin=value).status == OK


def test_no_message_is_unimplemented(connection, echo):
    stream = connection.begin(echo, end=True)
    assert connection.answer(stream).status == UNIMPLEMENTED
    assert connection.call(echo, b"").status == UNIMPLEMENTED


@pytest.mark.parametrize("body", [b"\0", b"\0\0\0\0", b"\0\0\0\0\5abcd"])
def test_a_message_cut_short_is_internal(connection, echo, body):
    assert connection.call(echo, body).status == INTERNAL


def test_two_messages_to_a_unary_method_are_unimplemented(connection, frames, echo):
    assert connection.call(echo, frames.message(b"") * 2).status == UNIMPLEMENTED


def test_headers_above_the_limit_are_resource_exhausted(connection, echo):
    answer = connection.call(echo, big="x" * 17_000)
    assert answer.status == RESOURCE_EXHAUSTED


def test_too_many_fields_are_resource_exhausted(connection, echo):
    fields = {f"field-{number}": "x" for number in range(101)}
    assert connection.call(echo, **fields).status == RESOURCE_EXHAUSTED


def test_the_table_of_a_refused_block_is_kept_up(connection, echo):
    """Its fields enter the dynamic table all the same, or every later block would mean something else."""
    connection.call(echo, big="x" * 17_000, small="y")
    assert connection.call(echo, small="y").status == OK


def test_headers_four_times_above_the_limit_cost_the_connection(lost, frames):
    lost.begin(ECHO, end=True, **{f"field-{number}": "x" * 15_000 for number in range(5)})
    assert lost.until_ended() == frames.ENHANCE_YOUR_CALM


def test_a_handlers_exception_is_internal_without_its_text(connection, frames):
    answer = connection.call("/interop.Probe/Raise", frames.message(b"\n\7" + SECRET.encode()))
    assert answer.status == INTERNAL
    assert SECRET not in answer.text
    assert "ValueError" not in answer.text


def test_an_exception_in_the_middle_of_a_stream_is_internal_after_what_was_sent(connection, frames):
    answer = connection.call("/interop.Probe/ThreeThenError", frames.message(b"\n\7" + SECRET.encode()))
    assert answer.status == INTERNAL
    assert answer.data == b"".join(frames.message(b"\n\1%d" % number) for number in range(3))
    assert SECRET not in answer.text


def test_a_request_that_is_no_protobuf_is_internal(connection, frames):
    answer = connection.call(ECHO, frames.message(b"\xff\xff\xff"))
    assert answer.status == INTERNAL
    assert "google.protobuf.BytesValue" in answer.text


def test_a_deadline_ends_a_call_whose_message_is_not_complete(connection, echo):
    stream = connection.begin(echo, grpc_timeout="20m")
    connection.data(stream, b"\0\0\0", end=False)
    assert connection.answer(stream).status == DEADLINE_EXCEEDED


def test_a_deadline_ends_a_call_whose_message_never_comes(connection, echo):
    stream = connection.begin(echo, grpc_timeout="20m")
    assert connection.answer(stream).status == DEADLINE_EXCEEDED


def test_a_deadline_ends_a_handler(connection, frames):
    name = b"\n\x12ends by a deadline"
    answer = connection.call("/interop.Probe/Wait", frames.message(name), grpc_timeout="50m")
    assert answer.status == DEADLINE_EXCEEDED
    assert connection.call("/interop.Probe/Cancelled", frames.message(name)).status == OK


def test_calls_above_max_in_flight_are_resource_exhausted(frames, connect, serve_testservice):
    served = serve_testservice("--set", "max_in_flight=1")
    connection = connect(served.port)
    held = connection.begin(ECHO)
    assert connection.call(ECHO).status == RESOURCE_EXHAUSTED
    connection.data(held, frames.message(b""))
    assert connection.answer(held).status == OK
    assert connection.call(ECHO).status == OK


def test_values_that_are_no_ascii_never_fail_a_call(connection, frames):
    stream = connection.begin(
        "/interop.Probe/Describe", label="grün".encode("latin-1"), other="grün".encode()
    )
    connection.data(stream, frames.message(b""))
    assert connection.answer(stream).status == OK


def test_an_answer_above_the_limit_is_resource_exhausted(frames, connect, serve_testservice):
    served = serve_testservice("--set", "max_send_bytes=100")
    connection = connect(served.port)
    assert connection.call(RAW, frames.message(bytes(100))).status == OK
    assert connection.call(RAW, frames.message(bytes(101))).status == RESOURCE_EXHAUSTED

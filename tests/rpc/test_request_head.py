"""What a request's header block says (RFC 9113, section 8; PROTOCOL-HTTP2.md)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from purerpc import StatusCode

from hushar.rpc.header_blocks import list_size
from hushar.rpc.request_head import (
    Malformed,
    RequestHead,
    check_trailers,
    custom_metadata,
    first,
    is_grpc,
    parse_head,
    text_of,
)

METHOD = (b":method", b"POST")
SCHEME = (b":scheme", b"http")
PATH = (b":path", b"/a.B/C")
AUTHORITY = (b":authority", b"example.com:8279")
TYPE = (b"content-type", b"application/grpc")
PSEUDO = [METHOD, SCHEME, PATH, AUTHORITY]
PLAIN = [*PSEUDO, TYPE, (b"te", b"trailers"), (b"user-agent", b"grpc-go/1.70")]


def with_fields(*fields):
    return [*PLAIN, *fields]


def replaced(name, *fields):
    """PLAIN with other fields in the place of one."""
    place = next(index for index, field in enumerate(PLAIN) if field[0] == name)
    return [*PLAIN[:place], *fields, *PLAIN[place + 1 :]]


def all_of(head):
    """Everything that a head says, but for the route that others set."""
    return {name: getattr(head, name) for name in RequestHead.__slots__ if name != "route"}


def parsed(fields):
    """What parse_head makes of fields, as something to compare."""
    try:
        return all_of(parse_head(fields))
    except Malformed:
        return None


class TestAProperRequest:
    def test_its_parts(self):
        head = parse_head(with_fields((b"grpc-timeout", b"2S"), (b"x-a", b"1")))
        assert (head.scheme, head.path, head.authority) == (b"http", b"/a.B/C", b"example.com:8279")
        assert head.fields == [*PLAIN[4:], (b"grpc-timeout", b"2S"), (b"x-a", b"1")]
        assert (head.timeout, head.encoding, head.accept, head.content_length) == (
            2.0,
            None,
            frozenset(),
            None,
        )
        assert (head.refusal, head.http_status, head.route) == (None, None, None)
        assert (head.pseudo, head.size) == (
            4,
            list_size(with_fields((b"grpc-timeout", b"2S"), (b"x-a", b"1"))),
        )

    def test_encodings(self):
        accept = (b"grpc-accept-encoding", b"identity, gzip,deflate")
        head = parse_head(with_fields((b"grpc-encoding", b"gzip"), accept, (accept[0], b"br")))
        assert head.encoding == b"gzip"
        assert head.accept == {b"identity", b"gzip", b"deflate", b"br"}
        assert parse_head(with_fields((b"grpc-encoding", b"identity"))).encoding is None
        assert parse_head(with_fields((b"grpc-encoding", b"unknown"))).refusal is None

    def test_content_length(self):
        assert parse_head(with_fields((b"content-length", b"0035"))).content_length == 35

    @pytest.mark.parametrize(
        "value", [b"", b"caf\xc3\xa9", b"\xff\xfe", b"a\tb", b"\x01\x7f", b"in the middle"]
    )
    def test_values_that_are_no_ascii_never_fail_a_call(self, value):
        head = parse_head(with_fields((b"x-a", value)))
        assert (head.refusal, head.fields[-1]) == (None, (b"x-a", value))

    def test_fields_may_stand_twice_and_keep_their_order(self):
        fields = [(b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"te", b"trailers")]
        assert parse_head(with_fields(*fields)).fields[-4:] == fields

    def test_te_may_be_missing(self):
        assert parse_head([*PSEUDO, TYPE]).refusal is None

    def test_no_authority_at_all(self):
        assert parse_head([METHOD, SCHEME, PATH, TYPE]).authority is None


class TestAuthority:
    @pytest.mark.parametrize(
        ("authority", "host"),
        [(b"a.example", b"a.example"), (b"A.example", b"a.EXAMPLE"), (b"a:80", b"a"), (b"a", b"a:80")],
    )
    def test_host_may_say_the_same(self, authority, host):
        fields = [METHOD, SCHEME, PATH, (b":authority", authority), TYPE, (b"host", host)]
        assert parse_head(fields).authority == authority

    def test_host_stands_in_for_it(self):
        assert parse_head([METHOD, SCHEME, PATH, TYPE, (b"host", b"a.example")]).authority == b"a.example"

    def test_the_schemes_own_port(self):
        fields = [METHOD, (b":scheme", b"https"), PATH, (b":authority", b"a:443"), TYPE]
        assert parse_head([*fields, (b"host", b"a")]).authority == b"a:443"
        assert parsed([*fields, (b"host", b"a:80")]) is None

    @pytest.mark.parametrize(
        "host",
        [b"other", b"example.com", b"example.com:82790", b"", b"xexample.com:8279", b"example.com:8279."],
    )
    def test_host_that_differs(self, host):
        assert parsed(with_fields((b"host", host))) is None

    @pytest.mark.parametrize(
        "fields",
        [
            [*PSEUDO, AUTHORITY, TYPE],
            [*PSEUDO, (b":authority", b"other"), TYPE],
            [*PLAIN, (b"host", AUTHORITY[1]), (b"host", AUTHORITY[1])],
            [METHOD, SCHEME, PATH, TYPE, (b"host", b"a"), (b"host", b"b")],
            [METHOD, SCHEME, PATH, (b":authority", b"user@example.com"), TYPE],
            [METHOD, SCHEME, PATH, TYPE, (b"host", b"user:password@example.com")],
        ],
    )
    def test_two_of_them_or_a_user(self, fields):
        assert parsed(fields) is None


MALFORMED_FIELDS = [
    *[
        (name, b"x")
        for name in (b"", b"X-A", b"x-A", b"a b", b"a\0", b"a\x7f", b"\xc3\xa4", b"a\r\nb", b"a:b", b"\t")
    ],
    *[
        (b"x-a", value)
        for value in (b" a", b"a ", b"\ta", b"a\t", b" ", b"a\0b", b"a\rb", b"a\nb", b"v\r\nx-evil: 1")
    ],
    *[
        (name, b"x")
        for name in (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
    ],
    *[(b"te", value) for value in (b"", b"gzip", b"trailers, gzip", b"trailers;q=1", b"trailer")],
    *[(name, b"x") for name in (b":method", b":path", b":authority", b":status", b":protocol", b":", b":x")],
]


class TestMalformedRequests:
    """RFC 9113, sections 8.2 and 8.3: a stream error, whatever else the request is."""

    @pytest.mark.parametrize("field", MALFORMED_FIELDS, ids=repr)
    @pytest.mark.parametrize("place", [4, 5, 7])
    def test_a_field_that_must_not_be(self, field, place):
        fields = [*PLAIN[:place], field, *PLAIN[place:]]
        assert parsed(fields) is None
        # Also where it would be refused for another reason.
        assert parsed([field if each == TYPE else each for each in fields]) is None

    @pytest.mark.parametrize("name", [b":method", b":scheme", b":path"])
    def test_a_pseudo_header_missing_empty_or_doubled(self, name):
        field = next(field for field in PSEUDO if field[0] == name)
        assert parsed(replaced(name)) is None
        assert parsed(replaced(name, (name, b""))) is None
        assert parsed(replaced(name, field, field)) is None
        assert parsed([*replaced(name), field]) is None

    @pytest.mark.parametrize("name", [b":method", b":scheme", b":path", b":authority"])
    @pytest.mark.parametrize("value", [b" a", b"a ", b"/\0", b"/a\r\nx: y"])
    def test_a_pseudo_header_with_a_bad_value(self, name, value):
        assert parsed(replaced(name, (name, value))) is None

    @pytest.mark.parametrize("field", [(b":status", b"200"), (b":protocol", b"websocket"), (b":foo", b"x")])
    def test_an_unknown_pseudo_header(self, field):
        assert parsed([field, *PLAIN]) is None

    @pytest.mark.parametrize("value", [b"-1", b"+1", b"1.0", b"", b"abc", b"1,1", b"1" * 20, b"\xb2", b"0x1"])
    def test_a_content_length_that_is_no_number(self, value):
        assert parsed(with_fields((b"content-length", value))) is None

    def test_a_doubled_content_length(self):
        assert parsed(with_fields((b"content-length", b"1"), (b"content-length", b"1"))) is None

    def test_nothing(self):
        assert parsed([]) is None

    def test_connect(self):
        connect = (b":method", b"CONNECT")
        assert parsed([connect, AUTHORITY]) is None
        assert parsed(replaced(b":method", connect)) is None


class TestWhatIsNoGRPC:
    @pytest.mark.parametrize(
        "value",
        [
            b"application/grpc",
            b"application/grpc+proto",
            b"application/grpc+anything",
            b"application/grpc;charset=utf-8",
            b"application/grpc+",
            b"Application/gRPC+json",
        ],
    )
    def test_content_types_that_are(self, value):
        assert is_grpc(value)
        assert parse_head(replaced(b"content-type", (b"content-type", value))).http_status is None

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"application/grpcfoo",
            b"application/grpc-web",
            b"application/grpc-web+proto",
            b"application/grp",
            b"application/json",
            b"text/html",
            b"x/application/grpc",
            b"application/grpc ",
        ],
    )
    def test_content_types_that_are_not(self, value):
        assert not is_grpc(value)
        value = value.strip()
        if not is_grpc(value):
            assert parse_head(replaced(b"content-type", (b"content-type", value))).http_status == 415

    def test_no_content_type_or_two(self):
        assert parse_head(replaced(b"content-type")).http_status == 415
        assert parse_head(with_fields(TYPE)).http_status == 415

    @pytest.mark.parametrize("method", [b"GET", b"PUT", b"OPTIONS", b"post", b"X"])
    def test_other_methods(self, method):
        fields = replaced(b":method", (b":method", method))
        assert parse_head(fields).http_status == 405
        # The content type is asked for first.
        assert parse_head([field for field in fields if field != TYPE]).http_status == 415

    def test_gets_no_grpc_status(self):
        head = parse_head(replaced(b"content-type", (b"grpc-timeout", b"bad"), (b"a-bin", b"!")))
        assert (head.http_status, head.refusal, head.timeout) == (415, None, None)


class TestRefusals:
    """What is a call, but one that cannot be begun: INTERNAL."""

    @pytest.mark.parametrize(
        "fields",
        [
            [(b"grpc-timeout", b"123456789S")],
            [(b"grpc-timeout", b"1")],
            [(b"grpc-timeout", b"")],
            [(b"grpc-timeout", b"1s")],
            [(b"grpc-timeout", b"1S"), (b"grpc-timeout", b"1S")],
            [(b"grpc-encoding", b"gzip"), (b"grpc-encoding", b"gzip")],
            [(b"a-bin", b"!")],
            [(b"a-bin", b"YQ"), (b"a-bin", b"Y")],
            [(b"grpc-trace-bin", b"YQ,!")],
        ],
    )
    def test_internal(self, fields):
        refusal = parse_head(with_fields(*fields)).refusal
        assert refusal.code is StatusCode.INTERNAL
        assert refusal.text

    def test_a_timeout_of_0_is_a_timeout(self):
        head = parse_head(with_fields((b"grpc-timeout", b"0S")))
        assert (head.timeout, head.refusal) == (0.0, None)

    def test_the_largest_timeout(self):
        assert parse_head(with_fields((b"grpc-timeout", b"99999999H"))).timeout == 99999999 * 3600.0


class TestTrailers:
    def test_regular_fields_are_accepted(self):
        check_trailers([])
        check_trailers([(b"x-a", b"1"), (b"x-a", b"2")])

    @pytest.mark.parametrize("field", [*MALFORMED_FIELDS, METHOD, (b":status", b"200")], ids=repr)
    def test_others_are_not(self, field):
        with pytest.raises(Malformed):
            check_trailers([field])
        with pytest.raises(Malformed):
            check_trailers([(b"x-a", b"1"), field])


class TestMetadata:
    def test_only_the_clients_own_in_wire_order(self):
        fields = [
            *PLAIN[4:],
            (b"b", b"1"),
            (b"grpc-timeout", b"1S"),
            (b"grpc-accept-encoding", b"gzip"),
            (b"a", b"2"),
            (b"authorization", b"Bearer x"),
            (b"accept-encoding", b"gzip"),
            (b"content-length", b"1"),
            (b"host", b"x"),
            (b"b", b"3"),
        ]
        assert custom_metadata(fields) == (("b", "1"), ("a", "2"), ("authorization", "Bearer x"), ("b", "3"))

    def test_binary_values_are_bytes_each_on_its_own(self):
        fields = [(b"a-bin", b"YQ==,YWI"), (b"b-bin", b""), (b"a-bin", b"/w")]
        assert custom_metadata(fields) == (
            ("a-bin", b"a"),
            ("a-bin", b"ab"),
            ("b-bin", b""),
            ("a-bin", b"\xff"),
        )

    def test_text_of_any_bytes(self):
        assert custom_metadata([(b"a", b"caf\xc3\xa9"), (b"b", b"caf\xe9")]) == (("a", "café"), ("b", "café"))

    @settings(deadline=None)
    @given(st.binary(max_size=40))
    def test_text_never_fails(self, value):
        assert isinstance(text_of(value), str)

    def test_the_first_of_a_name(self):
        assert first([(b"a", b"1"), (b"b", b"2"), (b"b", b"3")], b"b") == b"2"
        assert first([], b"b") is None

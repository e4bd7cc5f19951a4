"""Heads that are varied instead of parsed: they say the same, whoever makes them and whatever came before."""

import tracemalloc

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.rpc import engine, server_engine
from hushar.rpc import frames as fr
from hushar.rpc.header_blocks import encode, list_size
from hushar.rpc.limits import Limits
from hushar.rpc.messages import frame_message
from hushar.rpc.request_head import Malformed, RequestHead, custom_metadata, parse_head
from hushar.rpc.server_context import Route, ServerContext
from hushar.rpc.server_engine import ServerConnection
from hushar.rpc.status import parse_timeout
from hushar.rpc.variations import Variations, vary_head

PATH = (b":path", b"/a.B/C")
AUTHORITY = (b":authority", b"example.com:8279")
TYPE = (b"content-type", b"application/grpc")
PSEUDO = [(b":method", b"POST"), (b":scheme", b"http"), PATH, AUTHORITY]
PLAIN = [*PSEUDO, TYPE, (b"te", b"trailers"), (b"user-agent", b"grpc-go/1.70")]


def with_fields(*fields):
    return [*PLAIN, *fields]


def all_of(head):
    """Everything that a head says, but for the route that others set."""
    return {name: getattr(head, name) for name in RequestHead.__slots__ if name != "route"}


def parsed(fields):
    """What parse_head makes of fields, as something to compare."""
    try:
        return all_of(parse_head(fields))
    except Malformed:
        return None


VARYING = [
    *(
        b"1S",
        b"956120u",
        b"0n",
        b"123456789S",
        b"",
        b"x",
        b"trailers",
        b"gzip",
        b"identity",
        b"YQ==",
        b"!",
        b"12",
    ),
    *(
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b" a",
        b"a ",
        b"a\0b",
        b"a\nb",
        b"caf\xe9",
        b"-",
    ),
    *(
        b"a b",
        b"example.com:8279",
        b"application/grpc",
        b"text/html",
        b"\t",
        b"a\tb",
        b"POST",
        b"http",
        b"/a.B/C",
    ),
]
FIELDS = st.one_of(
    st.tuples(
        st.sampled_from(
            [
                *(b"grpc-timeout", b"traceparent", b"x-a", b"x-a-bin", b"grpc-trace-bin", b"grpc-encoding"),
                *(b"grpc-accept-encoding", b"te", b"host", b"content-length", b"content-type", b"connection"),
                *(
                    b"user-agent",
                    b"authorization",
                    b"X-A",
                    b"",
                    b":path",
                    b":authority",
                    b":status",
                    b"a:b",
                    b"-bin",
                ),
                b"n" * 100,
            ]
        ),
        st.one_of(st.sampled_from(VARYING), st.binary(max_size=12)),
    ),
    st.sampled_from(PLAIN),
)


@st.composite
def requests(draw):
    """Fields, and the places of those that are literals: mostly proper requests with something added."""
    fields = list(
        draw(st.sampled_from([PLAIN, PLAIN, PLAIN, PLAIN[:5], [*PLAIN, (b"grpc-timeout", b"1S")], []]))
    )
    marks = [False] * len(fields)
    for field in draw(st.lists(FIELDS, max_size=4)):
        place = draw(st.one_of(st.just(len(fields)), st.integers(0, len(fields))))
        fields.insert(place, field)
        marks.insert(place, draw(st.sampled_from([True, True, True, False])))
    if draw(st.sampled_from([False, False, False, True])):
        marks = [mark or draw(st.booleans()) for mark in marks]
    return fields, [place for place, mark in enumerate(marks) if mark]


def varied(fields, literals, checked):
    """What vary_head makes of the fields that are no literals, as the engine calls it."""
    indexed = [field for place, field in enumerate(fields) if place not in literals]
    try:
        known = parse_head(indexed)
    except Malformed:
        return None
    size = list_size([fields[place] for place in literals])
    return vary_head(known, fields, literals, size, checked)


class TestVaryingAHead:
    """The short cut gives what parsing all fields gives, or nothing."""

    @pytest.mark.slow
    @settings(deadline=None, max_examples=1500)
    @given(st.lists(requests(), max_size=4))
    def test_it_equals_parsing_for_every_input(self, sequence):
        checked = set()
        for fields, literals in sequence:
            if literals:
                head = varied(fields, literals, checked)
                if head is not None:
                    assert all_of(head) == parsed(fields)
                    assert custom_metadata(head.fields) == custom_metadata(parse_head(fields).fields)

    @pytest.mark.parametrize(
        "added",
        [
            [(b"grpc-timeout", b"956120u")],
            [(b"grpc-timeout", b"1S"), (b"traceparent", b"00-0af7651916cd43dd-01")],
            [(b"x-a", b""), (b"x-a", b"words and spaces"), (b"x-b", b"caf\xe9"), (b"x-c", b"-")],
            [(b"n" * 1000, b"v" * 1000)],
        ],
    )
    def test_what_clients_send_anew_with_every_call_takes_it(self, added):
        fields = with_fields(*added)
        checked = set()
        for _ in range(2):
            head = varied(fields, list(range(len(PLAIN), len(fields))), checked)
            assert all_of(head) == parsed(fields)

    def test_literals_may_stand_between_other_fields(self):
        fields = [*PLAIN[:5], (b"grpc-timeout", b"2S"), PLAIN[5], (b"x-a", b"1"), PLAIN[6]]
        assert all_of(varied(fields, [5, 7], set())) == parsed(fields)

    def test_the_route_is_that_of_the_known_head(self):
        known = parse_head(PLAIN)
        known.route = object()
        head = vary_head(known, with_fields((b"x-a", b"1")), [len(PLAIN)], 36, set())
        assert head.route is known.route
        assert known.fields == PLAIN[4:]

    @pytest.mark.parametrize(
        "field",
        [
            *[
                (name, b"x")
                for name in (b"X-A", b"a b", b"a\0", b"\xc3\xa4", b"a:b", b":path", b":x", b"connection")
            ],
            *[(b"x-a", value) for value in (b" a", b"a ", b"\ta", b"a\t", b" ", b"a\0b", b"a\rb", b"a\nb")],
            (b"grpc-timeout", b"bad"),
            (b"grpc-encoding", b"gzip"),
            (b"grpc-accept-encoding", b"gzip"),
            (b"a-bin", b"YQ"),
            (b"host", AUTHORITY[1]),
            (b"content-length", b"5"),
            (b"te", b"trailers"),
            TYPE,
        ],
        ids=repr,
    )
    def test_all_else_is_parsed(self, field):
        checked = {b"x-b"}
        for fields in (with_fields(field), with_fields((b"x-b", b"1"), field)):
            assert varied(fields, list(range(len(PLAIN), len(fields))), checked) is None

    def test_a_second_timeout_is_parsed(self):
        fields = with_fields((b"grpc-timeout", b"1S"), (b"grpc-timeout", b"2S"))
        assert varied(fields, [7, 8], set()) is None
        assert varied(fields, [8], set()) is None

    def test_a_value_is_checked_though_its_name_is_known(self):
        checked = set()
        assert varied(with_fields((b"x-a", b"good")), [7], checked) is not None
        for value in (b" bad", b"ba\0d", b"ba\nd", b"bad\t"):
            assert varied(with_fields((b"x-a", value)), [7], checked) is None

    def test_a_known_head_that_is_not_served_is_never_varied(self):
        for fields in ([*PSEUDO], with_fields((b"a-bin", b"!"))):
            whole = [*fields, (b"x-a", b"1")]
            assert varied(whole, [len(fields)], set()) is None

    def test_few_names_are_remembered(self):
        checked = set()
        for number in range(200):
            fields = with_fields((b"x-%d" % number, b"1"), (b"y-" * 100, b"1"))
            assert varied(fields, [7, 8], checked) is not None
        assert len(checked) <= 64
        assert max(map(len, checked)) <= 64


class Talk:
    """A client's encoder, and what a connection has to make heads of its blocks."""

    def __init__(self, heads, *, max_fields=100, max_bytes=65_536):
        self.heads = heads
        self.encoder = hpack.Encoder()
        self.decoder = heads.HeaderDecoder()
        self.found = []
        self.variations = heads.Variations(
            self.decoder, self.find, max_fields=max_fields, max_bytes=max_bytes
        )

    def find(self, fields):
        self.found.append(fields)
        try:
            head = parse_head(list(fields), self.heads.RequestHead)
        except Malformed:
            return None
        head.route = Route(head.path.decode("latin-1"), collects=not head.path.endswith(b"Stream"))
        return head

    def head(self, fields, *, huffman=True):
        """What is made of a block with these fields; pairs enter the table, others have a third item."""
        headers = [hpack.NeverIndexedHeaderTuple(*field[:2]) if len(field) > 2 else field for field in fields]
        decoded = self.decoder.decode(self.encoder.encode(headers, huffman=huffman))
        assert decoded == [field[:2] for field in fields]
        return self.variations.head(decoded)


def of_call(number):
    """Fields as grpc-go sends them, others with every call."""
    timeout, trace = b"%du" % (900_000 + number), b"00-%032x-%016x-01" % (number << 90, number << 40)
    return with_fields((b"grpc-timeout", timeout), (b"traceparent", trace))


class TestVariations:
    """What they give equals what parsing gives, and they are taken where clients need them."""

    def test_only_the_first_call_of_a_client_takes_the_general_way(self, heads):
        # Every 25 calls all other fields drop out of the table too, and come as literals.
        talk = Talk(heads)
        made = [(number, talk.head(of_call(number))) for number in range(400)]
        assert [number for number, head in made if head is None] == [0]
        for number, head in made[1:]:
            assert all_of(head) == parsed(of_call(number))
            assert head.route.path == "/a.B/C"
        assert len(talk.found) < 5

    def test_a_trace_that_is_repeated_is_found_in_the_table(self, heads):
        talk = Talk(heads)
        for number in range(40):
            fields = [*of_call(number)[:-1], (b"traceparent", b"00-%032x-01" % (number // 4))]
            head = talk.head(fields)
            assert head is None or all_of(head) == parsed(fields)

    def test_several_methods_in_turns(self, heads):
        talk = Talk(heads)
        for number in range(200):
            path = (b":path", b"/a.B/%d" % (number % 3))
            fields = [path if field == PATH else field for field in of_call(number)]
            head = talk.head(fields)
            if head is not None:
                assert all_of(head) == parsed(fields)
                assert head.route.path == path[1].decode()
            else:
                assert number < 3 or len(talk.decoder.literals) > 2

    def test_literals_that_are_what_they_were(self, heads):
        talk = Talk(heads)
        talk.head(PLAIN)
        talk.head(with_fields((b"x-a", b"1")))
        again = [(*field, "literal") for field in PLAIN[5:]]
        head = talk.head([*PLAIN[:5], *again])
        assert head is None or all_of(head) == parsed(PLAIN)

    def test_another_value_of_a_field_that_means_something(self, heads):
        talk = Talk(heads)
        for number in range(5):
            talk.head(of_call(number))
        for field in [
            (b"content-type", b"text/html"),
            (b"content-type", b"application/grpc+proto"),
            (b"te", b"gzip"),
            (b":path", b"/other"),
            (b":authority", b"other"),
            (b":scheme", b"https"),
        ]:
            fields = [(*field, "literal") if each[0] == field[0] else each for each in of_call(9)]
            assert talk.head(fields) is None

    @pytest.mark.parametrize(
        "added",
        [
            (b"te", b"Trailers"),
            (b"a-bin", b"YQ"),
            (b"grpc-encoding", b"gzip"),
            (b"x-A", b"1"),
            (b"x-a", b" "),
        ],
        ids=repr,
    )
    def test_what_is_more_than_a_clients_text_is_never_remembered(self, heads, added):
        talk = Talk(heads)
        for number in range(5):
            talk.head(of_call(number))
        before = len(talk.found)
        assert talk.head([*of_call(9), (*added, "literal")]) is None
        assert len(talk.found) == before
        assert all_of(talk.head(of_call(10))) == parsed(of_call(10))

    @pytest.mark.parametrize(
        "value", [b"", b"1", b"u", b"123456789u", b"1234567890u", b"1x", b"-1S", b" 1S", b"1 S", b"1.S"]
    )
    def test_a_timeout_that_is_none(self, heads, value):
        talk = Talk(heads)
        for number in range(3):
            talk.head(of_call(number))
        assert talk.head(with_fields((b"grpc-timeout", value))) is None

    @pytest.mark.parametrize(
        "value", [b"0n", b"99999999n", b"7u", b"1234m", b"3S", b"00000001M", b"99999999H"]
    )
    def test_every_unit_of_a_timeout(self, heads, value):
        talk = Talk(heads)
        talk.head(PLAIN)
        head = talk.head(with_fields((b"grpc-timeout", value)))
        assert (head.timeout, all_of(head)) == (
            parse_timeout(value),
            parsed(with_fields((b"grpc-timeout", value))),
        )

    def test_what_is_not_served_is_not_varied(self, heads):
        talk = Talk(heads)
        refused = with_fields((b"a-bin", b"!"))
        for fields in (refused, refused, [*PSEUDO, (b"x-b", b"1")]):
            talk.head(fields)
            assert talk.head([*fields, (b"x-a", b"1", "literal")]) is None

    def test_limits(self, heads):
        size = list_size(of_call(0))
        for limits, served in [
            ({}, True),
            ({"max_fields": 9}, True),
            ({"max_fields": 8}, False),
            ({"max_bytes": size}, True),
            ({"max_bytes": size - 1}, False),
        ]:
            talk = Talk(heads, **limits)
            talk.head(of_call(0))
            assert (talk.head(of_call(1)) is not None) is served

    def test_a_head_that_was_given_is_not_changed(self, heads):
        talk = Talk(heads)
        given = [(fields, talk.head(fields)) for fields in map(of_call, range(60))]
        given += [(fields, talk.head(fields)) for fields in [PLAIN, of_call(1), PLAIN]]
        for fields, head in given[1:]:
            if head is not None:
                assert all_of(head) == parsed(fields)

    def test_more_methods_than_are_remembered(self, heads):
        talk = Talk(heads)
        for number in range(200):
            fields = [
                (b":path", b"/%d" % (number % 12)) if field == PATH else field for field in of_call(number)
            ]
            head = talk.head(fields)
            assert head is None or all_of(head) == parsed(fields)

    def test_a_block_is_read_at_once_or_not_at_all(self, heads):
        """`read` gives what `decode` and `head` give, and None is as if nothing had been read."""
        talk, other = Talk(heads), Talk(heads)
        taken = 0
        for number in range(300):
            fields = [
                of_call(number),
                with_fields((b"x-a", b"%d" % number), (b"grpc-encoding", b"gzip")),
                with_fields((b"x-b", b"1", "literal")),
                with_fields((b"x-c", b"v" * 4100)),
                [*PLAIN[:4], (b"content-type", b"text/html"), (b"x-a", b"%d" % number)],
            ][number % 7 % 5]
            block = talk.encoder.encode([hpack.HeaderTuple(*field[:2]) for field in fields])
            head = talk.variations.read(block)
            taken += head is not None
            if head is None:
                head = talk.variations.head(talk.decoder.decode(block))
            expected = other.variations.head(other.decoder.decode(block))
            assert (head and all_of(head)) == (expected and all_of(expected))
            assert talk.decoder.changes == other.decoder.changes
        assert (taken > 100) is (heads.Variations is not Variations)

    @pytest.mark.parametrize(
        ("path", "timeout"), [(b"/a.B/Stream", b"1S"), (b"/a.B/C", b"0S")], ids=["a stream", "no time"]
    )
    def test_what_is_no_usual_call_is_not_read_at_once(self, heads, path, timeout):
        talk = Talk(heads)
        fields = [(b":path", path) if field == PATH else field for field in PLAIN]
        for number in range(4):
            block = talk.encoder.encode([*fields, (b"x-a", b"%d" % number), (b"grpc-timeout", timeout)])
            assert talk.variations.read(block) is None
            head = talk.variations.head(talk.decoder.decode(block))
            assert (head is None) == (number == 0)

    def test_a_block_that_comes_again_is_the_same_head(self, heads):
        talk = Talk(heads)
        for _ in range(2):
            talk.head(PLAIN)
        block = talk.encoder.encode([*PLAIN, hpack.NeverIndexedHeaderTuple(b"x-a", b"1")])
        talk.variations.head(talk.decoder.decode(block))
        read = [talk.variations.read(block) for _ in range(3)]
        if read[0] is not None:
            assert read[0] is read[1] is read[2]
            # Other entries: the same bytes mean other fields.
            talk.decoder.decode(b"\x40\x01b\x01c")
            assert talk.variations.read(block) is None
            fields = talk.decoder.decode(block)
            assert fields[-2:] == [PLAIN[-2], (b"x-a", b"1")] or (b"b", b"c") in fields

    @pytest.mark.slow
    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.tuples(requests(), st.booleans(), st.sampled_from([None, None, 0, 300])), max_size=12))
    def test_they_equal_parsing_for_every_sequence(self, heads, sequence):
        talk = Talk(heads)
        for (fields, literals), huffman, size in sequence:
            if size is not None:
                talk.encoder.header_table_size = size
            marked = [(*field, "literal") if at in literals else field for at, field in enumerate(fields)]
            for _ in range(2):
                head = talk.head(marked, huffman=huffman)
                if head is not None:
                    assert all_of(head) == parsed(fields)
                    assert head.route.path == head.path.decode("latin-1")


@pytest.fixture(scope="module")
def connection(heads):
    """connection(): a server's connection with one method, greeted; it uses these `heads`."""

    def made(**limits):
        limits = Limits(connection_concurrency=10_000, **limits)
        server = ServerConnection(
            ServerContext(limits, {PATH[1]: Route("/a.B/C", collects=True)}), lambda: None
        )
        server.receive_data(fr.PREFACE + fr.settings([]), 1.0)
        return server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "HeaderDecoder", heads.HeaderDecoder)
        patch.setattr(server_engine, "RequestHead", heads.RequestHead)
        patch.setattr(server_engine, "Variations", heads.Variations)
        yield made


def called(server, blocks):
    """Calls with these header blocks and an empty message each; what the heads of those that began say."""
    first_id = server.last_stream_id + 2 | 1
    frames = [
        fr.frame(fr.HEADERS, fr.END_HEADERS, first_id + 2 * index, block)
        + fr.frame(fr.DATA, fr.END_STREAM, first_id + 2 * index, frame_message(b""))
        for index, block in enumerate(blocks)
    ]
    calls = server.receive_data(b"".join(frames), 1.0)
    for call in calls:
        call.reply(b"")
    server.data_to_send()
    return [all_of(call.head) for call in calls]


class TestHeadsOfAConnection:
    """A connection remembers heads by their blocks and by what blocks refer to; they say the same."""

    def test_a_block_means_what_the_table_holds_now(self, connection):
        # What went wrong in a prototype: the last of these was answered as alice.
        tenant = [(*PLAIN, (b"x-tenant", name)) for name in (b"alice", b"bob")]
        encoder, server = hpack.Encoder(), connection()
        blocks = [encoder.encode(fields) for fields in (*tenant, tenant[0], tenant[1], tenant[1])]
        heads = called(server, blocks)
        assert [head["fields"][-1][1] for head in heads] == [b"alice", b"bob", b"alice", b"bob", b"bob"]

    def test_a_repeated_insert_is_made_each_time(self, connection):
        plain = encode(PLAIN)
        insert = plain + b"\x40\x03x-a\x011"
        other = plain + b"\x40\x03x-b\x012"
        heads = called(connection(), [plain, insert, insert, other, plain + b"\xbe\xbf\xc0"])
        assert [head["fields"][3:] for head in heads] == [
            [],
            [(b"x-a", b"1")],
            [(b"x-a", b"1")],
            [(b"x-b", b"2")],
            [(b"x-b", b"2"), (b"x-a", b"1"), (b"x-a", b"1")],
        ]

    @pytest.mark.slow
    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(
            st.tuples(
                st.lists(
                    st.tuples(
                        st.sampled_from([b"grpc-timeout", b"traceparent", b"x-a", b"x-b", b"x-c-bin"]),
                        st.sampled_from([b"1S", b"2M", b"YQ", b"00-12-34-01", b"x" * 700]),
                        st.booleans(),
                    ),
                    max_size=3,
                ),
                st.booleans(),
                st.sampled_from([None, None, None, 0, 200, 4096]),
            ),
            max_size=40,
        ),
        st.integers(0, 5),
    )
    def test_they_are_what_parsing_gives_whatever_came_before(self, connection, calls, repeats):
        encoder, server = hpack.Encoder(), connection()
        for added, huffman, size in calls * (1 + repeats):
            if size is not None:
                encoder.header_table_size = size
            fields = [*PLAIN, *((name, value) for name, value, _ in added)]
            headers = [
                *PLAIN,
                *(hpack.NeverIndexedHeaderTuple(*each[:2]) if each[2] else each[:2] for each in added),
            ]
            heads = called(server, [encoder.encode(headers, huffman=huffman)])
            expected = parsed(fields)
            if expected["refusal"] is None and expected["timeout"] != 0:
                assert heads == [expected]
            else:
                assert heads == []

    @pytest.mark.slow
    @pytest.mark.parametrize("insert", [False, True])
    def test_what_is_remembered_is_bounded(self, connection, insert):
        server = connection()
        encoder = hpack.Encoder()
        field = hpack.HeaderTuple if insert else hpack.NeverIndexedHeaderTuple
        called(server, [encoder.encode(PLAIN)])
        tracemalloc.start()
        try:
            for number in range(300):
                value = b"%d " % number * 700 + b"end"
                # Once as a literal, and once, if it was inserted, by reference.
                fields = [*PLAIN, field(b"x-a", value)]
                assert len(called(server, [encoder.encode(fields), encoder.encode(fields)])) == 2
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < 300_000

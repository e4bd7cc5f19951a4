"""What of a request is logged: every form of a map entry that protobuf allows, both implementations."""

import hashlib
import hmac
import random
import threading

import pytest
from google.protobuf.empty_pb2 import Empty
from hypothesis import given, settings
from hypothesis import strategies as st
from kernelkit import mutation, plans, privacy, requests, schema, splicing
from kernelkit.requests import Maker
from kernelkit.wire import EGROUP, I32, SGROUP, VARINT, field, groups, overlong, tag, varint

from hushar.inference.privacy import (
    EXCLUDE,
    HASH,
    KEEP,
    MAX_NAME_BYTES,
    MAX_NAMES,
    KeyedHash,
    Privacy,
    matches,
)

NOT_BUILT = "needs tool: a C compiler; `pip install -e .` where one is builds hushar's compiled parts"
SECRET = b"\x2a\x06secret"
"""string_value "secret"."""
NUMBER = b"\x15\0\0\xc0\x3f"
"""float_value 1.5."""
UNKNOWN = tag(9, VARINT) + b"\1"


@pytest.fixture(params=["readable", "compiled"], scope="module")
def made(request):
    """made(exclude, hashed): a Privacy, each implementation."""
    if request.param not in privacy.implementations():
        pytest.skip(NOT_BUILT)
    make = privacy.implementations()[request.param]
    return lambda exclude=(), hashed=(): make(privacy.Policy(tuple(exclude), tuple(hashed)))


@pytest.fixture
def row_of(made):
    """row_of(row, exclude=…, hashed=…): a row's bytes as they are logged."""

    def make(row, *, exclude=(), hashed=()):
        message = field(1, "q") + UNKNOWN + field(2, row) + field(1, "r")
        assert schema.decoded(message) is not None
        given = made(exclude, hashed)
        after = given.in_request(message)
        wrong = privacy.problem_of_one(privacy.Policy(tuple(exclude), tuple(hashed)), message, after)
        assert wrong is None, wrong
        again = given.in_request(message)
        assert again == after
        begin, end = field(1, "q") + UNKNOWN, field(1, "r")
        assert after.startswith(begin)
        assert after.endswith(end)
        inner = after[len(begin) : -len(end)]
        (kept,) = [value for number, _, value in splicing.unknown_of(Empty.FromString(inner)) if number == 2]
        return kept

    return make


def entry(name, value):
    return field(2, field(1, name) + field(2, value))


def digest(content):
    return hmac.new(privacy.KEY, content, hashlib.sha256).hexdigest()


def hashed_entry(name, content):
    return entry(name, field(5, digest(content)))


OTHER = entry("other", NUMBER)


class TestExclude:
    @pytest.mark.parametrize("given", [["age"], ["a*"], ["?ge"], ["[a-b]ge"], ["*"], ["x", "age"]])
    def test_by_name_and_by_pattern(self, row_of, given):
        kept = [] if given == ["*"] else [OTHER]
        assert row_of(entry("age", SECRET) + OTHER, exclude=given) == b"".join(kept)

    @pytest.mark.parametrize("given", [["Age"], ["ag"], ["age?"], ["[!a]ge"], ["ge"], [], ["age\n"]])
    def test_what_is_not_meant_stays(self, row_of, given):
        row = entry("age", SECRET) + OTHER
        assert row_of(row, exclude=given, hashed=given) == row

    @pytest.mark.parametrize("name", ["a[0]", "a*", "é*ß", "*", "a\nb", "[", "\U0001f600"])
    def test_a_name_that_is_listed_is_meant_whatever_is_in_it(self, row_of, name):
        assert row_of(entry(name, SECRET) + OTHER, exclude=[name]) in (OTHER, b"")

    def test_before_hash(self, row_of):
        row = entry("age", SECRET) + entry("name", SECRET)
        assert row_of(row, exclude=["age"], hashed=["*"]) == hashed_entry("name", SECRET)

    def test_everything_else_of_the_row_stays_byte_for_byte(self, row_of):
        before = overlong(1 << 3 | 2, 3) + overlong(1, 2) + b"r" + UNKNOWN + groups(3, 7)
        after = overlong(2 << 3 | 2, 4) + overlong(len(OTHER) - 2, 3) + OTHER[2:] + tag(2, I32) + b"1234"
        assert row_of(before + entry("age", SECRET) + after, exclude=["age"]) == before + after


# Each writes one feature named "age" with the value "secret" (or no feature at all) in a way of its own.
FORMS = {
    "as clients write it": entry("age", SECRET),
    "the key behind the value": field(2, field(2, SECRET) + field(1, "age")),
    "a long tag and length": overlong(2 << 3 | 2, 5) + overlong(15, 5) + field(1, "age") + field(2, SECRET),
    "a long tag of the key": field(2, overlong(1 << 3 | 2, 5) + b"\3age" + field(2, SECRET)),
    "a long length of the key": field(2, b"\x0a" + overlong(3, 5) + b"age" + field(2, SECRET)),
    "a long tag of the value": field(2, field(1, "age") + overlong(2 << 3 | 2, 3) + b"\x08" + SECRET),
    "a long length of the value": field(2, field(1, "age") + b"\x12" + overlong(8, 4) + SECRET),
    "two keys, the last counts": field(2, field(1, "other") + field(1, "age") + field(2, SECRET)),
    "a key at each end": field(2, field(1, "other") + field(2, SECRET) + field(1, "age")),
    "two values, merged": field(2, field(1, "age") + field(2, NUMBER) + field(2, SECRET)),
    "a value around the key": field(2, field(2, NUMBER) + field(1, "age") + field(2, SECRET)),
    "more in the value": field(2, field(1, "age") + field(2, NUMBER + SECRET)),
    "something unknown in the value": field(2, field(1, "age") + field(2, UNKNOWN + SECRET + groups(2))),
    "a long length in the value": field(2, field(1, "age") + field(2, b"\x2a" + overlong(6, 5) + b"secret")),
}
STRANGE = {
    "something unknown": field(2, field(1, "age") + field(2, SECRET) + UNKNOWN),
    "something unknown before": field(2, UNKNOWN + field(1, "age") + field(2, SECRET)),
    "a group": field(2, field(1, "age") + groups(2, 1) + field(2, SECRET)),
    "a group that holds the value": field(
        2, field(1, "age") + tag(2, SGROUP) + field(5, "secret") + tag(2, EGROUP)
    ),
    "a key of another wire type": field(2, tag(1, VARINT) + b"\7" + field(1, "age") + field(2, SECRET)),
    "the value as a number": field(2, field(1, "age") + tag(2, I32) + b"secr" + field(3, "secret")),
    "the secret in something unknown": field(2, field(1, "age") + field(2, NUMBER) + field(7, "secret")),
}


class TestForms:
    @pytest.mark.parametrize("form", [*FORMS, *STRANGE])
    def test_all_are_excluded(self, row_of, form):
        row = {**FORMS, **STRANGE}[form]
        assert row_of(row, exclude=["age"]) == b""
        assert row_of(OTHER + row + OTHER + row, exclude=["a?e"]) == OTHER + OTHER

    @pytest.mark.parametrize("form", FORMS)
    def test_all_are_hashed_alike(self, row_of, form):
        assert row_of(FORMS[form], hashed=["age"]) == hashed_entry("age", SECRET)
        assert row_of(OTHER + FORMS[form], hashed=["a*"]) == OTHER + hashed_entry("age", SECRET)

    @pytest.mark.parametrize("form", STRANGE)
    def test_what_is_no_feature_is_not_hashed_but_left_out(self, row_of, form):
        assert row_of(OTHER + STRANGE[form], hashed=["age"]) == OTHER

    @pytest.mark.parametrize("form", [*FORMS, *STRANGE])
    def test_all_stay_where_they_are_not_meant(self, row_of, form):
        row = OTHER + {**FORMS, **STRANGE}[form]
        assert row_of(row, exclude=["name", "x*"], hashed=["Age"]) == row

    @pytest.mark.parametrize("row", [field(2, field(2, SECRET)), field(2, field(1, "") + field(2, SECRET))])
    def test_no_key_is_the_empty_key(self, row_of, row):
        assert row_of(row, exclude=["*"]) == b""
        assert row_of(row, hashed=["*"]) == hashed_entry("", SECRET)
        assert row_of(row, exclude=["?*"]) == row

    def test_every_occurrence(self, row_of):
        row = entry("age", SECRET) + OTHER + entry("age", NUMBER) + entry("age", SECRET)
        assert row_of(row, exclude=["age"]) == OTHER
        assert row_of(row, hashed=["age"]) == (
            hashed_entry("age", SECRET) + OTHER + hashed_entry("age", NUMBER) + hashed_entry("age", SECRET)
        )

    def test_arrays_in_pieces_are_joined(self, row_of):
        one, two = field(7, field(1, NUMBER[1:])), field(7, field(1, b"\0\0\0\x40"))
        row = field(2, field(1, "xs") + field(2, one) + field(2, two))
        whole = field(7, field(1, NUMBER[1:] + b"\0\0\0\x40"))
        assert row_of(row, hashed=["xs"]) == hashed_entry("xs", whole)

    @pytest.mark.parametrize("value", [b"", UNKNOWN, field(11, "secret"), tag(11, VARINT) + b"\1"])
    def test_a_value_without_a_known_kind_stays_absent(self, row_of, value):
        assert row_of(entry("age", value), hashed=["age"]) == entry("age", b"")
        assert row_of(field(2, field(1, "age")), hashed=["age"]) == entry("age", b"")

    def test_a_group_in_place_of_an_entry_is_an_unknown_field(self, row_of):
        row = tag(2, SGROUP) + field(1, "age") + field(2, SECRET) + tag(2, EGROUP)
        assert row_of(row, exclude=["*"]) == row

    @pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 129, 300, 20_000])
    def test_names_of_all_lengths(self, row_of, size):
        name = "n" * size
        row = entry(name, SECRET) + OTHER
        assert row_of(row, exclude=["*n", ""]) == OTHER
        assert row_of(row, hashed=["*n", ""]) == hashed_entry(name, SECRET) + OTHER


class TestHash:
    def test_it_is_hmac_sha256_under_the_key(self):
        for key in (b"k", b"k" * 64, b"k" * 65, bytes(range(256))):
            for content in (b"", b"x", b"y" * 1000):
                expected = hmac.new(key, content, hashlib.sha256).hexdigest().encode()
                assert KeyedHash(key).hex_of(content) == expected

    def test_other_keys_give_other_hashes(self):
        assert Privacy([], ["*"], b"a").hashed(SECRET) != Privacy([], ["*"], b"b").hashed(SECRET)

    @pytest.mark.parametrize(
        ("value", "content"),
        [
            ({"float_value": 1.5}, "150000c03f"),
            ({"double_value": 1.5}, "09000000000000f83f"),
            ({"integer_value": -1}, "18ffffffffffffffffff01"),
            ({"long_value": 300}, "20ac02"),
            ({"string_value": "ab"}, "2a026162"),
            ({"string_value": ""}, "2a00"),
            ({"float_value": 0}, "1500000000"),
            ({"float_value": -0.0}, "1500000080"),
            ({"float_array": {"values": [1.5]}}, "3a060a040000c03f"),
            ({"string_array": {"values": ["a", ""]}}, "52050a01610a00"),
            ({"long_array": {"values": []}}, "4a00"),
        ],
    )
    def test_the_bytes_of_a_value_are_those_that_protobuf_writes(self, row_of, value, content):
        made = schema.CLASSES["DataType"](**value).SerializeToString()
        assert made.hex() == content
        assert row_of(entry("x", made), hashed=["x"]) == hashed_entry("x", made)

    def test_a_number_written_in_more_bytes_has_the_same_hash(self, row_of):
        short, long = tag(3, VARINT) + varint(5), tag(3, VARINT) + overlong(5, 10)
        cut = tag(3, VARINT) + varint(5 | 7 << 32)
        made = {row_of(entry("x", value), hashed=["x"]) for value in (short, long, cut)}
        assert made == {hashed_entry("x", short)}


class TestNames:
    def test_a_verdict_is_remembered_for_few_names_only(self):
        asked = Privacy(["a*"], ["b*"])
        for index in range(3 * MAX_NAMES):
            assert asked.verdict(b"a%d" % index) == EXCLUDE
        assert len(asked._verdicts) <= MAX_NAMES
        asked.verdict(b"a" * (MAX_NAME_BYTES + 1))
        assert max(map(len, asked._verdicts)) <= MAX_NAME_BYTES
        assert (asked.verdict(b"b"), asked.verdict(b"c"), asked.verdict(b"\xff")) == (HASH, KEEP, KEEP)

    def test_more_names_than_are_remembered(self, made):
        given = made(["*1"], ["*2"])
        names = [f"name {index}" for index in range(3 * MAX_NAMES)]
        row = b"".join(entry(name, SECRET) for name in names)
        expected = b"".join(
            hashed_entry(name, SECRET) if name.endswith("2") else entry(name, SECRET)
            for name in names
            if not name.endswith("1")
        )
        for _ in range(2):
            assert given.in_request(field(2, row)) == field(2, expected)

    def test_matches(self):
        assert matches("a*", "ab")
        assert matches("a[0]", "a[0]")
        assert matches("a[0]", "a0")
        assert not matches("A*", "ab")


class TestMessages:
    def test_where_nothing_is_meant_the_message_itself_is_given_back(self, made):
        message = field(2, OTHER) * 3
        assert made(["age"]).in_request(message) == message

    def test_of_many_rows_only_those_change_that_must(self, made):
        row = overlong(2 << 3 | 2, 2) + varint(len(OTHER)) + OTHER
        meant = field(2, entry("age", SECRET) + OTHER)
        message = row + meant + UNKNOWN + row + meant
        assert made(["age"]).in_request(message) == row + field(2, OTHER) + UNKNOWN + row + field(2, OTHER)

    def test_log_rows(self, made):
        rows = field(3, entry("age", SECRET) + field(3, b"1234")) + field(3, OTHER)
        assert made(["age"]).in_log_rows(rows) == field(3, field(3, b"1234")) + field(3, OTHER)

    @pytest.mark.parametrize(
        "content", [b"\x12", b"\x12\5a", b"\x12\2\x0a\1", b"\x12\4\x12\2\x0a\7", b"\x12\1\x0f"]
    )
    def test_what_is_cut_short_is_refused(self, made, content):
        with pytest.raises(ValueError, match="decoded"):
            made(["age"]).in_request(content)

    def test_a_value_that_does_not_decode_is_refused(self, made):
        with pytest.raises(ValueError, match="decoded"):
            made([], ["age"]).in_request(field(2, entry("age", b"\x15\0")))

    def test_many_threads(self, made):
        given = made(["*1"], ["*2"])
        wanted = {}
        for index in range(40):
            row = b"".join(entry(f"{index} {number}", SECRET) for number in range(300))
            wanted[field(2, row) * 5] = None
        for message in wanted:
            wanted[message] = given.in_request(message)
        fresh, wrong = made(["*1"], ["*2"]), []

        def run(seed):
            mine = list(wanted)
            random.Random(seed).shuffle(mine)
            wrong.extend(message for message in mine if fresh.in_request(message) != wanted[message])

        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_it_is_what_protobuf_finds(rng):
    for _ in range(30):
        setup = plans.setup(rng)
        sent = [requests.any_request(rng, setup) for _ in range(10)]
        sent += [mutation.mutated(rng, rng.choice(sent), rng.choice(sent)) for _ in range(10)]
        decodable = [message for message in sent if schema.decoded(message) is not None]
        assert privacy.problem(rng, decodable) is None


def test_the_twins_are_equal_on_any_bytes(rng):
    """Only what has been decoded comes here; what has not must do no harm all the same."""
    both = privacy.implementations()
    if len(both) == 1:
        pytest.skip(NOT_BUILT)
    for _ in range(20):
        setup = plans.setup(rng)
        sent = [Maker(rng, setup, odd=0.1, broken=0.02).request() for _ in range(8)]
        policy = privacy.policy(rng, [message for message in sent if schema.decoded(message) is not None])
        made = [make(policy) for make in both.values()]
        for message in sent:
            for damaged in (message, mutation.mutated(rng, message), rng.randbytes(rng.randint(0, 20))):
                for walk in ("in_request", "in_log_rows"):
                    found = [splicing.of_anything(getattr(each, walk), damaged) for each in made]
                    assert found[0] == found[1], (policy, damaged.hex())


pieces = st.recursive(
    st.sampled_from([field(1, "age"), field(1, "name"), field(2, SECRET), field(2, NUMBER), UNKNOWN, b""]),
    lambda inner: st.lists(inner, max_size=4).map(b"".join) | inner.map(lambda content: field(2, content)),
    max_leaves=12,
)


@given(row=pieces, exclude=st.booleans())
@settings(max_examples=300, deadline=None)
def test_entries_put_together_from_anything(row, exclude):
    message = field(2, row)
    if schema.decoded(message) is None:
        return
    policy = privacy.Policy(("age",) if exclude else (), ("*e",))
    found = {make(policy).in_request(message) for make in privacy.implementations().values()}
    assert len(found) == 1
    assert privacy.problem_of_one(policy, message, found.pop()) is None

"""Drafts: the compiled one does what the readable one does, and splicing into them writes what it writes
without them, and nowhere else."""

import gc
import itertools
import weakref
from functools import partial

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from kernelkit import plans, requests, schema, splicing
from kernelkit.wire import field

from hushar.drafts import Draft, ReadableDraft
from hushar.inference import splice
from hushar.records import each_record, own_bytes

NOT_BUILT = "needs tool: a C compiler; `pip install -e .` where one is builds hushar's compiled parts"
ABSURD = (2**62, 2**63 - 1, 2**63, 2**64, 10**30)
RUN, LITTLE = 2048, 512
"""Bytes: the compiled splice streams so many at once into the draft, and what has more than the latter from
where it is; see `_far.pxd`."""


@pytest.fixture(params=["readable", "compiled"])
def draft_type(request):
    """Drafts, each implementation."""
    if request.param not in splicing.draft_types():
        pytest.skip(NOT_BUILT)
    return splicing.draft_types()[request.param]


@pytest.fixture(params=["readable splice, readable draft", "readable splice, compiled draft", "compiled"])
def problem(request):
    """problem(arguments, before=…, more=…): what is wrong with a splice into a draft, or None."""
    name = "compiled splice, compiled draft" if request.param == "compiled" else request.param
    if name not in splicing.with_drafts():
        pytest.skip(NOT_BUILT)
    return partial(splicing.draft_problem, *splicing.with_drafts()[name])


def outcome(function, *arguments):
    """What it gives, or what it raises."""
    try:
        result = function(*arguments)
    except Exception as error:
        return type(error), str(error)
    return (bytes(result.content), result.number) if hasattr(result, "content") else result


SIZE = 3000
CONTENT = bytes(index * 31 % 251 for index in range(SIZE))
numbers = st.integers(-3, 60)
sizes = st.one_of(numbers, st.integers(0, SIZE + 2))


class Twins(RuleBasedStateMachine):
    """The two beside each other, and beside lists of what they are about."""

    def __init__(self):
        super().__init__()
        self.both = [each(memoryview(bytearray(CONTENT)), 7) for each in splicing.draft_types().values()]
        self.booked = []
        self.untold = []

    def all_do(self, name, *arguments):
        made = [outcome(getattr(draft, name), *arguments) for draft in self.both]
        assert all(each == made[0] for each in made), (name, arguments, made)
        return made[0]

    @rule(name=st.sampled_from(["size", "limit", "full_at"]), value=sizes)
    def set(self, name, value):
        for draft in self.both:
            setattr(draft, name, value)

    @rule(data=st.binary(max_size=50))
    def write(self, data):
        for draft in self.both:
            if len(data) <= SIZE - draft.at:
                draft.memory[draft.at : draft.at + len(data)] = data
                draft.size = len(data)

    @rule(records=numbers)
    def take(self, records):
        draft = self.both[0]
        fits = draft.at < draft.full_at and draft.at + draft.size <= draft.limit
        at, size = draft.at, draft.size
        taken = self.all_do("take", records)
        if fits and 0 <= size <= SIZE - at:
            assert taken is True
            self.has_come(records, at, size)
        elif not fits:
            assert taken is False

    @rule(records=numbers, size=sizes)
    def book(self, records, size):
        at = self.both[0].at
        if self.all_do("book", records, size) is None:
            self.has_come(records, at, size)
        else:
            assert not 0 <= size <= SIZE - at

    @rule(records=numbers, size=st.integers(0, 9))
    def book_small(self, records, size):
        self.book(records, size)

    def has_come(self, records, at, size):
        self.booked.append((records, size))
        self.untold.append((records, size))

    @rule()
    def news(self):
        assert self.all_do("news") == (sum(each[0] for each in self.untold), sum(e[1] for e in self.untold))
        self.untold.clear()

    @rule(first=numbers, room=st.one_of(numbers, sizes))
    def run_of(self, first, room):
        made = self.all_do("run", first, room)
        if not 0 <= first < len(self.booked):
            assert made == (IndexError, f"batches {first} to {first + 1} of {len(self.booked)}")
            return
        stop = first + 1
        while stop < len(self.booked) and sum(size for _, size in self.booked[first:stop]) < room:
            stop += 1
        assert made == stop

    @rule(first=numbers, stop=numbers)
    def between(self, first, stop):
        made = self.all_do("between", first, stop)
        if not 0 <= first < stop <= len(self.booked):
            assert made == (IndexError, f"batches {first} to {stop} of {len(self.booked)}")
            return
        begin = 7 + sum(size for _, size in self.booked[:first])
        own = self.booked[first:stop]
        content = bytes(self.both[0].memory[begin : begin + sum(size for _, size in own)])
        assert made == (content, sum(records for records, _ in own))

    @precondition(lambda self: self.booked)
    @rule(data=st.data())
    def between_of_those_there_are(self, data):
        first = data.draw(st.integers(0, len(self.booked) - 1))
        stop = data.draw(st.integers(first + 1, len(self.booked)))
        self.between(first, stop)
        self.run_of(first, data.draw(sizes))

    @invariant()
    def are_equal(self):
        for name in ("at", "begin", "size", "limit", "full_at", "records", "batches"):
            assert len({getattr(draft, name) for draft in self.both}) == 1, name
        assert len({bytes(draft) for draft in self.both}) == 1
        assert len({bytes(draft.memory) for draft in self.both}) == 1
        draft = self.both[0]
        assert draft.at == 7 + sum(size for _, size in self.booked)
        assert draft.records == sum(records for records, _ in self.booked)
        assert draft.batches == len(self.booked)


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class TestDraft:
    def test_the_one_that_serves_is_the_compiled_one_where_it_was_built(self):
        assert splicing.draft_types().get("compiled", ReadableDraft) is Draft

    def test_thousands_of_batches(self, draft_type):
        batches = [(index % 5, index % 7) for index in range(5000)]
        size = sum(each for _, each in batches)
        content = bytes(np.arange(size, dtype=np.uint8))
        draft = draft_type(memoryview(bytearray(content)))
        ends = list(itertools.accumulate((each for _, each in batches), initial=0))
        for records, each in batches:
            draft.book(records, each)
        assert (draft.at, draft.batches) == (size, 5000)
        for first, stop in ((0, 1), (0, 256), (255, 257), (511, 513), (1000, 4097), (4999, 5000), (0, 5000)):
            made = draft.between(first, stop)
            assert made.content == content[ends[first] : ends[stop]]
            assert made.number == sum(records for records, _ in batches[first:stop])
        assert draft.run(0, size + 1) == 5000
        assert draft.run(2500, ends[4000] - ends[2500]) == 4000
        assert draft.news() == (sum(records for records, _ in batches), size)

    def test_no_memory(self, draft_type):
        draft = draft_type(memoryview(b""))
        assert (bytes(draft), draft.batches, draft.news()) == (b"", 0, (0, 0))
        assert not draft.take(1)
        draft.full_at = 1
        assert draft.take(0)
        assert draft.between(0, 1) == (b"", 0)
        with pytest.raises(ValueError, match=r"^1 bytes at 0 of 0$"):
            draft.book(1, 1)

    def test_it_can_carry_what_cannot_be_written_to(self, draft_type):
        draft = draft_type(memoryview(b"records"))
        draft.book(2, 7)
        assert draft.between(0, 1) == (b"records", 2)
        with pytest.raises(TypeError):
            draft.memory[0] = 1

    def test_nothing_is_taken_beyond_what_it_may_hold(self, draft_type):
        draft = draft_type(memoryview(bytearray(100)), 10, 30)
        draft.size, draft.limit = 15, 24
        assert not draft.take(1)
        draft.limit = 25
        assert draft.take(1)
        draft.limit = 100
        assert draft.take(1)
        # It has reached what it is full at.
        draft.size = 0
        assert (draft.at, draft.take(1)) == (40, False)

    @pytest.mark.parametrize(
        ("memory", "begin", "said"),
        [
            (bytearray(4), 5, "a draft does not begin at 5 of 4 bytes"),
            (bytearray(4), -1, "a draft does not begin at -1 of 4 bytes"),
            (memoryview(bytearray(8))[::2], 0, "a draft is of contiguous bytes"),
            (memoryview(bytearray(8))[::-1], 0, "a draft is of contiguous bytes"),
            (memoryview(bytearray(8)).cast("I"), 0, "a draft is of contiguous bytes"),
            (memoryview(bytearray(8)).cast("b"), 0, "a draft is of contiguous bytes"),
            (memoryview(bytearray(8)).cast("B", (2, 4)), 0, "a draft is of contiguous bytes"),
        ],
    )
    def test_memory_of_another_sort_is_refused(self, draft_type, memory, begin, said):
        with pytest.raises(ValueError, match=f"^{said}$"):
            draft_type(memory, begin)

    @pytest.mark.parametrize("memory", [None, 5, "text", [1]])
    def test_what_is_no_memory_is_refused(self, draft_type, memory):
        with pytest.raises(TypeError):
            draft_type(memory)

    @pytest.mark.parametrize("number", [*ABSURD, -1, *(-each for each in ABSURD)])
    def test_absurd_numbers_change_nothing(self, draft_type, number):
        draft = draft_type(memoryview(bytearray(100)), 3, 100)
        draft.book(1, 5)
        with pytest.raises((ValueError, OverflowError)):
            draft.book(1, number)
        for ask in (partial(draft.run, number, 1), partial(draft.between, 0, number)):
            with pytest.raises((IndexError, OverflowError)):
                ask()
        with pytest.raises((ValueError, OverflowError)):
            draft_type(memoryview(bytearray(100)), number)
        if abs(number) < 2**63:
            assert draft.run(0, number) == 1
        assert (draft.at, draft.records, draft.batches, draft.news()) == (8, 1, 1, (1, 5))

    def test_an_absurd_size_is_not_taken(self, draft_type):
        for size in (-1, -(2**63), 98, 2**63 - 4):
            draft = draft_type(memoryview(bytearray(100)), 3, 100)
            draft.size, draft.limit = size, 2**63 - 1
            with pytest.raises(ValueError, match=f"^{size} bytes at 3 of 100$"):
                draft.take(1)
            assert (draft.at, draft.records, draft.batches) == (3, 0, 0)

    @pytest.mark.parametrize("wrong", ["1", None, b"1", [1]])
    def test_wrong_types_change_nothing(self, draft_type, wrong):
        draft = draft_type(memoryview(bytearray(100)), 0, 100)
        draft.size, draft.limit = 5, 100
        for call in (
            partial(draft.take, wrong),
            partial(draft.book, wrong, 1),
            partial(draft.book, 1, wrong),
            partial(draft.run, wrong, 1),
            partial(draft.between, 0, wrong),
        ):
            with pytest.raises(TypeError):
                call()
        assert (draft.at, draft.records, draft.batches) == (0, 0, 0)

    def test_its_memory_lives_as_long_as_it_does(self, draft_type):
        class Memory(bytearray):
            pass

        memory = Memory(b"some records")
        gone = weakref.ref(memory)
        draft = draft_type(memoryview(memory))
        with pytest.raises(BufferError):
            memory.clear()
        del memory
        gc.collect()
        draft.book(1, 4)
        assert draft.between(0, 1).content == b"some"
        del draft
        gc.collect()
        assert gone() is None

    def test_what_was_taken_from_it_outlives_it(self, draft_type):
        draft = draft_type(memoryview(bytearray(b"some records")))
        draft.book(1, 4)
        records = draft.between(0, 1)
        del draft
        gc.collect()
        assert records.content == b"some"

    def test_a_cycle_with_its_memory_is_collected(self, draft_type):
        class Memory(bytearray):
            pass

        gone = []
        for _ in range(20):
            memory = Memory(1000)
            memory.draft = draft_type(memoryview(memory), 5)
            memory.draft.book(1, 3)
            memory.other = memory.draft.between(0, 1)
            gone.append(weakref.ref(memory))
        del memory
        gc.collect()
        assert [each() for each in gone] == [None] * 20

    def test_letting_go_of_memory_that_it_shows_leaves_its_own(self, draft_type):
        """Nobody does that; if somebody did, it would be an error and no writing into memory of others."""
        owner = bytearray(2000)
        view = memoryview(owner)
        draft = draft_type(view, 0, 2000)
        view.release()
        with pytest.raises(BufferError):
            owner.clear()
        draft.memory.release()
        with pytest.raises(ValueError, match="released"):
            bytes(draft)


class TestCompiled:
    """What it has of its own."""

    @pytest.fixture
    def compiled(self):
        if "compiled" not in splicing.draft_types():
            pytest.skip(NOT_BUILT)
        return splicing.draft_types()["compiled"]

    def test_is_made_once(self, compiled):
        draft = compiled(memoryview(bytearray(b"first")), 1)
        with pytest.raises(TypeError, match="a draft is made once"):
            draft.__init__(memoryview(bytearray(b"second")))
        assert (bytes(draft.memory), draft.begin) == (b"first", 1)

    def test_one_that_was_never_made_has_no_memory(self, compiled):
        draft = compiled.__new__(compiled)
        message = field(2, b"")
        arguments = [message], [1], np.zeros((1, 1), np.float32), splice.Logged(b"", b"", [1])
        without = splice.choose("cython").whole(*arguments)
        assert splice.choose("cython").whole(*arguments, draft) == without
        with pytest.raises(ValueError, match=r"^1 bytes at 0 of 0$"):
            draft.book(1, 1)
        with pytest.raises(TypeError):
            bytes(draft)

    @pytest.mark.parametrize("wrong", [(bytearray(2000), 2001), (memoryview(bytearray(4000))[::2],), (None,)])
    def test_one_that_could_not_be_made_writes_nowhere(self, compiled, wrong):
        draft = compiled.__new__(compiled)
        with pytest.raises((ValueError, TypeError)):
            draft.__init__(*wrong)
        arguments = [field(2, b"")], [1], np.ones((1, 1), np.float32), splice.Logged(b"m", b"v", [1])
        without = splice.choose("cython").whole(*arguments)
        assert splice.choose("cython").whole(*arguments, draft) == without
        draft.__init__(memoryview(bytearray(2000)), 9)
        assert splice.choose("cython").whole(*arguments, draft)[1] == [draft]

    @pytest.mark.parametrize("name", ["memory", "begin", "at", "records", "batches", "data"])
    def test_where_it_is_nobody_else_can_say(self, compiled, name):
        with pytest.raises(AttributeError):
            setattr(compiled(memoryview(bytearray(10))), name, 1)

    def test_splices_write_into_its_own_memory_whatever_became_of_what_it_shows(self, compiled):
        owner = bytearray(2000)
        draft = compiled(memoryview(owner), 10, 2000)
        draft.memory.release()
        arguments = [field(2, b"")], [1], np.ones((1, 1), np.float32), splice.Logged(b"m", b"v", [1])
        _, (content,) = splice.choose("cython").whole(*arguments)
        _, (made,) = splice.choose("cython").whole(*arguments, draft)
        assert made is draft
        assert owner == bytes(10) + content + bytes(1990 - len(content))

    def test_compiled_code_writes_into_no_other_draft(self, compiled):
        arguments = [field(2, b"")], [1], np.ones((1, 1), np.float32), splice.Logged(b"m", b"v", [1])
        for other in (ReadableDraft(memoryview(bytearray(2000))), bytearray(2000), 5):
            with pytest.raises(TypeError):
                splice.choose("cython").whole(*arguments, other)


def row(size, row_id="r"):
    """A row of so many bytes, or a few more, with an unknown field."""
    return field(1, row_id) + field(9, b"\x07" * max(0, size - len(row_id) - 5))


def splicing_of(messages, received, *, columns=1, model_id=b"m", version=b"v"):
    """Arguments of `spliced`."""
    rows = [len(schema.decoded(message).inputs) for message in messages]
    scores = np.arange(sum(rows) * columns, dtype=np.float32).reshape(sum(rows), columns)
    return messages, rows, scores, splice.Logged(model_id, version, received)


ROWS = (0, 5, 100, 700, 3000)
MORE = [0, -1, 1, 300, -(10**9)]


class TestSplicing:
    @pytest.mark.parametrize("before", [0, 1, 4095])
    def test_into_a_draft_is_the_same_bytes_there_and_nothing_else(self, problem, before, rng):
        for _ in range(20):
            messages = [
                field(1, f"call {index}")
                + field(2, row(rng.choice((0, 5, 100, 700, 3000)))) * rng.randint(0, 3)
                for index in range(rng.randint(1, 9))
            ]
            arguments = splicing_of(messages, [7] * len(messages), columns=rng.randint(0, 40))
            for more in MORE:
                assert problem(arguments, before=before, more=more) is None

    @pytest.mark.parametrize("size", [*range(10), *range(50, 70), *range(110, 135), *range(490, 580)])
    def test_at_every_place_in_a_line_of_the_cache(self, problem, size):
        messages = [field(2, row(size)), field(2, row(3)), field(2, row(size))]
        arguments = splicing_of(messages, [7, 8, 9])
        for before in (0, 1, 31, 62, 63, 64, 65):
            assert problem(arguments, before=before, more=0) is None

    @pytest.mark.parametrize("size", [RUN - 1, RUN, RUN + 1, 2 * RUN, 10 * RUN + 77])
    def test_as_much_as_is_streamed_at_once(self, problem, size):
        """Small records, until there are so many bytes of them, and then one that is copied from its end."""
        for last in range(0, 130, 7):
            messages = [field(2, row(60))] * (size // 80) + [field(2, row(last))] * 3
            assert problem(splicing_of(messages, [7] * len(messages)), before=last, more=0) is None

    @pytest.mark.parametrize("part", ["id", "row", "row id", "unknown", "scores", "model", "version"])
    def test_any_part_may_be_long(self, problem, part):
        for size in (
            *range(LITTLE - 3, LITTLE + 68, 5),
            LITTLE,
            LITTLE + 1,
            RUN - 1,
            RUN,
            5 * RUN + 3,
            80 * RUN,
        ):
            text = "t" * size
            long = {
                "id": field(1, text) + field(2, row(5)),
                "row": field(2, row(size)),
                "row id": field(2, row(5, text)),
                # Copied in two pieces: what is between them is a row's field 3, which goes.
                "unknown": field(2, field(9, text) + field(3, b"gone") + field(9, text)),
            }.get(part, field(2, row(9)))
            arguments = splicing_of(
                [field(2, row(20)), long, field(2, row(33)), long, long],
                [7] * 5,
                columns=size // 4 if part == "scores" else 2,
                model_id=text.encode() if part == "model" else b"m",
                version=text.encode() if part == "version" else b"v",
            )
            for before in (0, 37):
                assert problem(arguments, before=before, more=0) is None

    def test_thousands_of_calls_without_a_row_or_a_name(self, problem):
        """A record is then nothing but tags and numbers, and so are rows without anything in them."""
        gone = field(2, field(3, b""))
        for messages in (
            [b""] * 3000,
            [field(2, b"") * 5] * 700,
            [gone * 5] * 700,
            [gone * 6000],
            [gone * 3000] * 2,
        ):
            arguments = splicing_of(messages, [7] * len(messages), columns=0, model_id=b"", version=b"")
            for before in (0, 63):
                assert problem(arguments, before=before, more=0) is None

    def test_one_large_record_among_small_ones(self, problem):
        for at in range(4):
            messages = [field(2, row(5))] * 4
            messages[at] = field(2, row(20_000))
            for more in MORE:
                assert problem(splicing_of(messages, [7] * 4), before=9, more=more) is None

    def test_nothing_logged_or_no_calls_and_the_draft_is_as_it_was(self, problem):
        messages, rows, scores, log = splicing_of([field(2, row(50))], [7])
        for arguments in ((messages, rows, scores, None), ([], [], scores[:0], log._replace(received=[]))):
            for more in (0, 300):
                assert problem(arguments, before=5, more=more) is None

    @pytest.mark.parametrize("wrong", ["rows", "cut short", "received"])
    def test_what_is_refused_leaves_it_as_it_was(self, wrong, rng):
        good = field(2, row(700))
        for implementation, draft_type in splicing.with_drafts().values():
            memory = bytearray(rng.randbytes(5000))
            before = bytes(memory)
            draft = draft_type(memoryview(memory), 100, 5000)
            draft.size = 77
            messages, rows, scores, log = splicing_of([good, good], [7, 8])
            if wrong == "rows":
                messages = [good, good * 2]
            elif wrong == "cut short":
                messages = [good, good[:-1]]
            else:
                log = log._replace(received=[7])
            with pytest.raises(ValueError, match=r"row|times|cut short"):
                implementation.whole(messages, rows, scores, log, draft)
            assert (bytes(memory), draft.size) == (before, 77)

    def test_memory_that_cannot_be_written_to_has_no_room(self, rng):
        arguments = splicing_of([field(2, row(700))], [7])
        for implementation, draft_type in splicing.with_drafts().values():
            content = rng.randbytes(5000)
            draft = draft_type(memoryview(content))
            assert implementation.whole(*arguments, draft) == implementation.whole(*arguments)
            assert (draft.size, bytes(draft.memory)) == (0, content)

    def test_batches_one_after_the_other_are_one_file(self, rng):
        for implementation, draft_type in splicing.with_drafts().values():
            draft = draft_type(memoryview(bytearray(100_000)), 123, 100_000)
            draft.limit = 100_000
            expected = []
            for index in range(60):
                messages = [field(1, f"{index} {at}") + field(2, row(rng.randint(0, 900))) for at in range(3)]
                arguments = splicing_of(messages, [index] * 3)
                _, pieces = implementation.whole(*arguments, draft)
                assert own_bytes(pieces) == implementation.whole(*arguments)[1]
                # Every third is not taken: the next one is written over it.
                if index % 3:
                    assert pieces[0].take(3)
                    expected += [f"{index} {at}" for at in range(3)]
            records = draft.between(0, draft.batches)
            assert records.number == len(expected)
            batches = schema.Logs.FromString(bytes(records.content)).inferenceLogBatches
            assert [batch.request_id for batch in batches] == expected


VERSION = b"0123456789a" * 28
RECEIVED = {
    "all alike": [1_700_000_000_000_000] * 4,
    "alike, but each an object of its own": [int("1700000000000000") + at - at for at in range(4)],
    "each another": [1, 127, 128, 2**63 - 1],
    "there and back": [5, 300, 5, 300],
    "two and two": [300, 300, 5, 5],
    "none": [0, 0, 0, 0],
    "none at first": [0, 300, 300, 0],
    "none in between": [300, 0, 0, 300],
    "before the epoch": [-1, -1, -2, -2],
}


class TestTails:
    """What stands behind a record's rows is copied from the record before it, where both came together."""

    @pytest.mark.parametrize("received", RECEIVED)
    def test_each_record_is_that_of_its_call_alone(self, spliced, received):
        messages = [field(1, "q" * at) + field(2, row(10 * at)) * (at % 3) for at in range(4)]
        for size in (0, 1, 2, 15, 16, 31, 32, 33, 126, 127, 128, 129, 300):
            version = VERSION[:size]
            messages, rows, scores, log = splicing_of(messages, RECEIVED[received], version=version)
            _, pieces = spliced(messages, rows, scores, log)
            start = 0
            for at, record in enumerate(each_record(pieces, 4)):
                own = scores[start : start + rows[at]]
                start += rows[at]
                alone = log._replace(received=[log.received[at]])
                assert splice.READABLE.whole([messages[at]], [rows[at]], own, alone)[1] == [record]
                (batch,) = schema.Logs.FromString(record).inferenceLogBatches
                assert (batch.model_version, batch.received_unix_micros) == (
                    log.model_version.decode(),
                    log.received[at],
                )

    def test_versions_of_all_sizes_in_drafts(self, problem):
        for size in range(301):
            for large in (5, 600):
                messages = [field(1, "q") + field(2, row(large))] * 3
                arguments = splicing_of(messages, [7, 7, 8], version=VERSION[:size])
                assert problem(arguments, before=size, more=size % 2) is None, size

    def test_calls_without_rows(self, problem):
        for received in RECEIVED.values():
            assert problem(splicing_of([b"", field(1, "q"), b"", b""], received), before=1, more=0) is None


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class TestCopies:
    """Few bytes are copied otherwise than many: whatever is copied, in all sizes about those."""

    @pytest.mark.parametrize("what", ["request id", "row id", "model id", "version", "row", "scores"])
    def test_of_all_sizes(self, spliced, what):
        for size in range(41):
            text, own = LETTERS[:size], dict.fromkeys(("request id", "row id", "model id", "version"), "x")
            own[what] = text
            unknown = field(9, LETTERS[:size]) if what == "row" else b""
            message = field(1, own["request id"]) + field(2, field(1, own["row id"]) + unknown)
            log = splice.Logged(own["model id"].encode(), own["version"].encode(), [3])
            scores = np.arange(1, 2 + size * (what == "scores"), dtype=np.float32).reshape(1, -1)
            (response,), (record,) = spliced([message], [1], scores, log)
            request = schema.decoded(message)
            assert response == splicing.response(request, scores), size
            assert splicing.record_problem(message, scores, log, 0, record) is None, size
            if what != "row":
                canonical = splicing.canonical(message)
                assert canonical == message or not size
                assert spliced([canonical], [1], scores, log)[1] == [splicing.record(message, scores, log, 0)]

    def test_what_lies_between_fields_3_of_a_row(self, spliced):
        for size in range(41):
            kept = field(9, LETTERS[:size])
            message = field(2, field(3, b"") + kept + field(3, b"1234") + kept + field(3, b""))
            _, (record,) = spliced([message], [1], np.ones((1, 1), np.float32), splice.Logged(b"", b"", [0]))
            (batch,) = schema.Logs.FromString(record).inferenceLogBatches
            (logged,) = batch.inference_log_rows
            assert logged.SerializeToString() == field(3, np.float32(1).tobytes()) + kept * 2

    def test_of_all_sizes_into_drafts(self, problem):
        for size in range(41):
            message = field(1, LETTERS[:size]) + field(2, field(1, LETTERS[size:]) + field(9, LETTERS[:size]))
            arguments = splicing_of(
                [message] * 2, [7, 7], columns=size % 12, model_id=b"i" * size, version=b"v" * (40 - size)
            )
            for before in (0, 1, 17):
                assert problem(arguments, before=before, more=0) is None, size


@pytest.mark.slow
def test_requests_of_every_sort(rng):
    """As the fuzzer does it."""
    for _ in range(20):
        setup = plans.setup(rng)
        made = [requests.any_request(rng, setup) for _ in range(20)]
        messages = [message for message in made if schema.decoded(message) is not None]
        assert splicing.problem(rng, messages) is None

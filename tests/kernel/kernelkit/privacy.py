"""What of a request may be in the log, by protobuf: decoded, filtered, compared. Nothing here is hushar's."""

import fnmatch
import functools
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from google.protobuf import message_factory

from hushar.inference import privacy, splice
from kernelkit import schema
from kernelkit.running import part_sizes
from kernelkit.splicing import in_slices, logged, of_anything, scores_for, twins, unknown_of

KEY = b"a key of the test"
_ENTRY = message_factory.GetMessageClass(
    schema.CLASSES["InputRow"].DESCRIPTOR.nested_types_by_name["FeaturesEntry"]
)


@dataclass(frozen=True)
class Policy:
    """What is excluded and what is hashed."""

    exclude: tuple
    hashed: tuple

    def of(self, name):
        """ "exclude", "hash" or "keep"."""
        for what, given in (("exclude", self.exclude), ("hash", self.hashed)):
            if any(name == each or fnmatch.fnmatchcase(name, each) for each in given):
                return what
        return "keep"

    def made(self, *, readable=False):
        """The implementation under test."""
        return privacy.Privacy(self.exclude, self.hashed, KEY, readable=readable)


def implementations():
    """How to make a Privacy of a policy: readable, and compiled where it is built."""
    found: dict[str, Callable] = {"readable": functools.partial(Policy.made, readable=True)}
    if privacy._privacy is not None:
        found["compiled"] = Policy.made
    return found


def policy(random, messages):
    """A random policy about names that are in the messages, and about others."""
    names = {name for message in messages for row in _rows(message) for name in row.features}
    names |= {_name(entry) for message in messages for row in _rows(message) for entry in _strangers(row)}
    pool = sorted(names) or ["f"]

    def some():
        given = []
        for _ in range(random.choice((0, 0, 1, 1, 2, 5))):
            name = random.choice(pool)
            given.append(
                random.choice((name, name, name[:2] + "*", "*" + name[-1:], "?" * len(name), "[a-m]*"))
            )
        return tuple(given)

    return Policy(some(), random.choice((some(), some(), ("*",))))


def _rows(message):
    request = schema.decoded(message)
    return request.inputs if request is not None else ()


def _strangers(row):
    """The entries of a row that protobuf takes for unknown fields, since one is in them."""
    return [content for number, kind, content in unknown_of(row) if (number, kind) == (2, 2)]


def _name(entry):
    return _ENTRY.FromString(entry).key


def _hashed(value):
    """The DataType that stands for a value."""
    known = schema.CLASSES["DataType"]()
    known.CopyFrom(value)
    known.DiscardUnknownFields()
    if known.WhichOneof("data_type") is None:
        return b""
    digest = hmac.new(KEY, known.SerializeToString(), hashlib.sha256).hexdigest()
    return schema.CLASSES["DataType"](string_value=digest).SerializeToString()


def expected_row(row, policy):
    """Name → bytes of each feature of a row that is logged, and the row's unknown fields."""
    features = {}
    for name, value in row.features.items():
        what = policy.of(name)
        if what != "exclude":
            features[name] = _hashed(value) if what == "hash" else value.SerializeToString()
    unknown = [
        field for field in unknown_of(row) if field[:2] != (2, 2) or policy.of(_name(field[2])) == "keep"
    ]
    return row.row_id, features, unknown


def problem_of_one(policy, message, made):
    """What is wrong with a request as it is to be logged, or None."""
    before, after = schema.decoded(message), schema.decoded(made)
    if after is None:
        return "it does not decode"
    if len(before.inputs) != len(after.inputs) or before.request_id != after.request_id:
        return "other rows, or another id"
    for old, new in zip(before.inputs, after.inputs, strict=True):
        found = (
            new.row_id,
            {name: value.SerializeToString() for name, value in new.features.items()},
            unknown_of(new),
        )
        if found != expected_row(old, policy):
            return f"{found} instead of {expected_row(old, policy)}"
    return None


def problem(random, messages):
    """What is wrong with what is logged of messages that decode, or None."""
    given = policy(random, messages)
    made = {name: make(given) for name, make in implementations().items()}
    for message in messages:
        results = {name: each.in_request(message) for name, each in made.items()}
        if len(set(results.values())) != 1:
            return f"{given}: {message.hex()}\nthe twins differ: {results}"
        wrong = problem_of_one(given, message, results["readable"])
        if wrong is not None:
            return f"{given}: {message.hex()}\n{results['readable'].hex()}: {wrong}"
    return _problem_of_records(random, messages, made)


def run(random, names, messages):
    """Run compiled code on any messages, and compare nothing."""
    given = Policy(tuple(random.sample(names, min(3, len(names)))), random.choice(((), ("*",)))).made()
    for message in messages:
        for walk in (given.in_request, given.in_log_rows):
            of_anything(walk, message)


def _problem_of_records(random, messages, made):
    """Responses are those of the requests as they came; slices give the record of the whole."""
    for message in messages[::4]:
        rows = len(schema.decoded(message).inputs)
        scores, log = scores_for(random, rows, 2), logged(random, [message])
        sizes = [size for size in part_sizes(random, rows) if size]
        for name, implementation in twins().items():
            responses, _ = implementation.whole([message], [rows], scores, log)
            for each in made.values():
                whole = implementation.whole([each.in_request(message)], [rows], scores, log)
                if whole[0] != responses:
                    return f"{name}: {message.hex()}\nthe response is another one"
                sliced = in_slices(implementation, message, scores, log, sizes, privacy=each)
                if sliced != (responses[0], whole[1]):
                    return f"{name}: {message.hex()}\nin slices of {sizes}: {sliced}"
    return None


def scores_of(rows):
    """Some scores."""
    return np.ones((rows, 1), np.float32)


def record(implementation, given, message, rows=1):
    """The rows of the log record of a message, by protobuf."""
    redacted = given.in_request(message)
    _, (made,) = implementation.whole([redacted], [rows], scores_of(rows), splice.Logged(b"m", b"v", [1]))
    return made, schema.Logs.FromString(made).inferenceLogBatches[0].inference_log_rows

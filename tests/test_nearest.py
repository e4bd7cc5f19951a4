"""Which known name somebody may have meant."""

import pytest

from hushar.nearest import did_you_mean, nearest, normalized, proposal


@pytest.mark.parametrize(
    ("name", "expected"),
    [("worker", "workers"), ("WORKERS", "workers"), ("rotate-bytes", "rotate_bytes"), ("x", None)],
)
def test_nearest(name, expected):
    assert nearest(name, ["workers", "rotate_bytes", "uri"]) == expected


def test_candidate_is_returned_as_it_is_written():
    assert nearest("identitty", ["Identity"]) == "Identity"


def test_normalized():
    assert normalized(" Log-Level ") == "log_level"


def test_ends_of_messages():
    assert did_you_mean("stdrr", ["stderr"]) == ", did you mean 'stderr'?"
    assert did_you_mean("zzz", ["stderr"]) == ""
    assert proposal([]) == ""
    assert proposal(["a", "b"]) == ", did you mean 'a' or 'b'?"

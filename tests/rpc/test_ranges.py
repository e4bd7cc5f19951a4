"""Which values the server's settings may have (RFC 9113 and good sense)."""

import dataclasses
import math

import pytest
from pydantic import ValidationError

from hushar.config.service import ServiceConfiguration
from hushar.config.transport import Http2Section, ServerSection
from hushar.rpc import Server
from hushar.rpc.ranges import NOT_NEGATIVE, POSITIVE, WHOLE

FIELDS = {**ServerSection.model_fields, **Http2Section.model_fields}
NO_NUMBERS = {"unix_socket", "reuse_port", "compression", "reflection"}
EDGES = [
    *((name, low, low - 1) for name, (low, _) in WHOLE.items()),
    *((name, high, high + 1) for name, (_, high) in WHOLE.items() if high != math.inf),
    *((name, 0, -0.5) for name in sorted(NOT_NEGATIVE)),
    *((name, 0.5, bad) for name in sorted(POSITIVE) for bad in (0, -1, math.inf, math.nan)),
]


def configured(name, value):
    """Whether hushar's configuration takes the value."""
    if name == "connection_concurrency":
        with pytest.raises(ValidationError) as caught:
            ServiceConfiguration(connection_concurrency=value)
        return not any(error["loc"] == ("connection_concurrency",) for error in caught.value.errors())
    section = ServerSection if name in ServerSection.model_fields else Http2Section
    try:
        section(**{name: value})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("name", "good", "bad"), EDGES)
def test_the_edges_are_those_of_the_configuration(name, good, bad):
    Server(0, **{name: good})
    assert configured(name, good)
    with pytest.raises(ValueError, match=f"^{name} must be "):
        Server(0, **{name: bad})
    assert not configured(name, bad)


def test_every_number_has_a_range():
    assert FIELDS.keys() - NO_NUMBERS == (WHOLE.keys() | NOT_NEGATIVE | POSITIVE) - {"connection_concurrency"}


@pytest.mark.parametrize("name", sorted(WHOLE.keys() | NOT_NEGATIVE | POSITIVE))
@pytest.mark.parametrize("value", ["1", True, [], None])
def test_what_is_no_number_is_refused(name, value):
    if value is None and name in FIELDS and FIELDS[name].default is None:
        Server(0, **{name: None})
        return
    with pytest.raises(ValueError, match=f"^{name} must be "):
        Server(0, **{name: value})


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_whole_number_is_an_int(name):
    with pytest.raises(ValueError, match="whole number"):
        Server(0, **{name: 70000.5})


def test_the_defaults_are_within():
    server = Server(0)
    Server(0, **dataclasses.asdict(server.limits), **dataclasses.asdict(server._lifetimes))

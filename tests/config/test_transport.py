"""The sections that are the transport's arguments: same names, same defaults."""

import dataclasses

import pytest

from hushar.config.transport import Http2Section, ServerSection
from hushar.rpc import Server
from hushar.rpc.limits import Limits

PASSED = ServerSection().model_dump(exclude={"reflection"}) | Http2Section().model_dump()


def state(server):
    """What a server was made of, as far as it shows."""
    parts = {
        name: value
        for name, value in vars(server).items()
        if isinstance(value, int | float | str | bool | tuple | None) or dataclasses.is_dataclass(value)
    }
    return {name: value for name, value in parts.items() if not callable(value)}


def test_the_defaults_are_those_of_the_transport():
    assert state(Server(0, **PASSED)) == state(Server(0))


@pytest.mark.parametrize("name", PASSED)
def test_every_key_is_an_argument(name):
    Server(0, **{name: PASSED[name]})


def test_every_limit_of_the_transport_is_a_key():
    limits = {field.name for field in dataclasses.fields(Limits)} - {"connection_concurrency"}
    assert limits <= PASSED.keys()

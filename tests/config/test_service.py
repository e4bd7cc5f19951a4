"""The models: frozen, described, and strict on their own too."""

import pytest
from pydantic import ValidationError

from hushar.config.hints import KEYS
from hushar.config.service import OPTIONS, Section, ServiceConfiguration

REQUIRED = {"model_path": "m", "model_id": "m", "vectorization_instruction_path": "v"}


def all_models(model=Section):
    yield from (model, *(below for child in model.__subclasses__() for below in all_models(child)))


def test_every_key_is_described():
    assert [key.dotted for key in KEYS.values() if not key.field.description] == []


def test_every_section_is_described():
    assert [model.__name__ for model in all_models() if not model.__doc__] == []


def test_options_are_of_keys():
    assert set(OPTIONS) <= {key.dotted for key in KEYS.values()}


def test_frozen():
    configuration = ServiceConfiguration(**REQUIRED)
    with pytest.raises(ValidationError, match="frozen"):
        configuration.port_number = 1
    with pytest.raises(ValidationError, match="frozen"):
        configuration.log.uri = "x"


def test_integer_does_for_a_number():
    configuration = ServiceConfiguration(**REQUIRED, log={"drain_seconds": 3})
    assert isinstance(configuration.log.drain_seconds, float)


def test_digest_is_lower_case():
    assert ServiceConfiguration(**REQUIRED, model={"sha256": "AB" * 32}).model.sha256 == "ab" * 32


def test_limits_themselves_are_allowed():
    log = {"sample_rate": 0, "rotate_bytes": 65536, "spool_max_bytes": 65536, "rotate_seconds": 1}
    log |= {"retry_min_seconds": 5, "retry_max_seconds": 5, "drain_seconds": 0}
    assert ServiceConfiguration(**REQUIRED, port_number=65535, log=log).log.spool_max_bytes == 65536
    most = {"rotate_bytes": 2**30, "rotate_seconds": 86400}
    assert ServiceConfiguration(**REQUIRED, log=most).log.rotate_bytes == 2**30


def test_plugins_settings_stand_beside_the_sections_own_keys():
    plugins = ServiceConfiguration(**REQUIRED, plugins={"block": ["x"], "aws": {"a": 1}}).plugins
    assert plugins.block == ("x",)
    assert plugins.settings == {"aws": {"a": 1}}

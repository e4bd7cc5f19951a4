import json

import pytest

from hushar.client.kindsfile import kinds_from_file
from hushar.errors import ConfigurationError

VECTORIZATION = {
    "feature_transformations": {"age": {"type": "standardization64"}, "city": {"type": "embedding"}},
    "feature_order": ["age", "city"],
}
KINDS = {"age": "double_value", "city": "string_value"}


@pytest.fixture
def vectorization(tmp_path):
    file = tmp_path / "deep" / "vectorization.json"
    file.parent.mkdir()
    file.write_text(json.dumps(VECTORIZATION))
    return file


def test_a_vectorization_is_read(vectorization):
    assert kinds_from_file(vectorization) == KINDS


def test_a_vectorization_in_toml_is_read(tmp_path):
    file = tmp_path / "vectorization.toml"
    file.write_text('[feature_transformations]\nage = {type = "min_max_scaling32"}')
    assert kinds_from_file(file) == {"age": "float_value"}


@pytest.mark.parametrize("as_uri", [False, True])
def test_a_service_configuration_leads_to_its_vectorization(tmp_path, vectorization, as_uri):
    service = tmp_path / "service.json"
    uri = vectorization.as_uri() if as_uri else "deep/vectorization.json"
    service.write_text(json.dumps({"model_id": "m", "vectorization_instruction_path": uri}))
    assert kinds_from_file(service) == KINDS


def test_a_file_uri_may_hold_encoded_characters(tmp_path):
    (tmp_path / "a b#c?.json").write_text(json.dumps(VECTORIZATION))
    service = tmp_path / "service.json"
    uri = (tmp_path / "a b#c?.json").as_uri()
    service.write_text(json.dumps({"vectorization_instruction_path": uri}))
    assert kinds_from_file(service) == KINDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ("{}", "feature_transformations"),
        ('{"vectorization_instruction_path": 1}', "expected a string"),
        ('{"vectorization_instruction_path": "s3://b/v.json"}', "give the vectorization file itself"),
        ('{"vectorization_instruction_path": "file://host/v.json"}', "give the vectorization file itself"),
        ('{"vectorization_instruction_path": "s3:///v.json"}', "give the vectorization file itself"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, text, message):
    file = tmp_path / "given.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError, match=message) as caught:
        kinds_from_file(file)
    assert caught.value.problems[0].file == str(file)


def test_bad_toml_is_named(tmp_path):
    (tmp_path / "given.toml").write_text("= 1")
    with pytest.raises(ConfigurationError, match="not TOML"):
        kinds_from_file(tmp_path / "given.toml")


def test_the_file_that_is_missing_is_named(tmp_path):
    service = tmp_path / "service.json"
    service.write_text('{"vectorization_instruction_path": "absent.json"}')
    with pytest.raises(ConfigurationError, match=r"absent\.json: cannot be read: No such file"):
        kinds_from_file(service)


def test_a_path_that_no_file_can_have_is_told(tmp_path):
    service = tmp_path / "service.json"
    service.write_text('{"vectorization_instruction_path": "a\\u0000b"}')
    with pytest.raises(ConfigurationError, match="cannot be read: embedded null byte"):
        kinds_from_file(service)

"""Paths and URIs as text: one reading for the whole of hushar."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.client.kindsfile import kinds_from_file
from hushar.config.uris import resolve_local
from hushar.logreading.partitions import Window
from hushar.logreading.source import log_files
from hushar.storage.local import LocalStorage
from hushar.uris import local_path, scheme_of

VECTORIZATION = {"feature_transformations": {"city": {"type": "embedding"}}, "feature_order": ["city"]}


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("m.onnx", "file"),
        ("/m.onnx", "file"),
        ("file:///m.onnx", "file"),
        ("FILE:///m.onnx", "file"),
        ("file:/m.onnx", "file"),
        ("s3://bucket/m", "s3"),
        ("S3://bucket/m", "s3"),
        ("git+ssh://host", "git+ssh"),
        ("folder/s3://x", "file"),
        ("c:m", "file"),
        ("", "file"),
    ],
)
def test_scheme(uri, scheme):
    assert scheme_of(uri) == scheme


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("a%20b", "a%20b"),
        ("/x", "/x"),
        ("file:///x", "/x"),
        ("file://localhost/x", "/x"),
        ("file:/x", "/x"),
        ("file:///a%20b%25/%C3%A4", "/a b%/ä"),
        ("FILE://LOCALHOST/x", "/x"),
        ("file:///a?b#c", "/a?b#c"),
        ("file:///a%3Fb%23c", "/a?b#c"),
        ("file:///%FF", "/\udcff"),
        ("file:relative", "file:relative"),
    ],
)
def test_local_path(uri, path):
    assert local_path(uri) == path


@settings(deadline=None)
@given(path=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_path_survives_as_a_file_uri(path):
    assert local_path(f"file:///{quote(path)}") == f"/{path}"


@pytest.mark.parametrize("uri", ["s3://bucket/x", "file://host/x", "file://"])
def test_not_a_local_path(uri):
    with pytest.raises(ValueError, match="path"):
        local_path(uri)


@pytest.mark.parametrize("start", ["file:", "file://", "file://localhost", "FILE://LocalHost"])
async def test_every_reader_of_uris_takes_a_file_uri_for_the_same_file(tmp_path, start):
    path = tmp_path / "a b#ä.json"
    path.write_text(json.dumps(VECTORIZATION))
    uri = start + quote(str(path))
    service = tmp_path / "service.json"
    service.write_text(json.dumps({"vectorization_instruction_path": uri}))
    assert resolve_local(uri, "/somewhere") == str(path)
    assert (await LocalStorage().read(uri)).path == path
    assert [file.path for file in log_files([uri], Window())] == [path]
    assert kinds_from_file(service) == {"city": "string_value"}

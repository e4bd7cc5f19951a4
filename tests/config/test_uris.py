"""What a relative path or URI means."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.config.uris import base_of, resolve_local, resolve_uri
from hushar.uris import is_uri


@pytest.mark.parametrize(
    ("uri", "base"),
    [
        ("service.json", "/somewhere"),
        ("conf/service.json", "/somewhere/conf"),
        ("/etc/service.json", "/etc"),
        ("file:///a%20b/service.json", "/a b"),
        ("s3://bucket/service.json", "s3://bucket/"),
        ("s3://bucket/a//b/service.json", "s3://bucket/a//b/"),
    ],
)
def test_base_of_a_document(uri, base):
    assert base_of(uri, "/somewhere") == base


@pytest.mark.parametrize(
    ("value", "base", "absolute"),
    [
        ("m", "/somewhere", "/somewhere/m"),
        ("./a//m", "/somewhere", "/somewhere/a/m"),
        ("../m", "/somewhere", "/somewhere/../m"),
        ("/m", "/somewhere", "/m"),
        ("file:///m%20", "/somewhere", "file:///m%20"),
        ("m", "s3://b/", "s3://b/m"),
        ("m", "s3://b/a//c/", "s3://b/a//c/m"),
        ("./x/../m", "s3://b/a/", "s3://b/a/m"),
        ("../../m", "s3://b/a/c/", "s3://b/m"),
        ("logs/", "s3://b/a/", "s3://b/a/logs/"),
        (".", "s3://b/a/", "s3://b/a/"),
        ("..", "s3://b/a/", "s3://b/"),
        ("/m", "s3://b/a/", "/m"),
        ("gs://c/m", "s3://b/a/", "gs://c/m"),
    ],
)
def test_relative_to_a_base(value, base, absolute):
    assert resolve_uri(value, base) == absolute


@pytest.mark.parametrize(
    ("value", "base"), [("../m", "s3://b/"), ("a/../../m", "s3://b/"), ("m\0", "/"), ("file:///%00", "/")]
)
def test_what_cannot_be_meant(value, base):
    with pytest.raises(ValueError, match=r"leads out of|NUL"):
        resolve_uri(value, base)


def test_local_only():
    assert resolve_local("spool", "/somewhere") == "/somewhere/spool"
    assert resolve_local("file:///sp%20ool", "s3://b/") == "/sp ool"
    assert resolve_local("/spool", "s3://b/") == "/spool"
    with pytest.raises(ValueError, match="must be absolute, because the configuration is at s3://"):
        resolve_local("spool", "s3://b/")
    with pytest.raises(ValueError, match="expected a local path, got s3://b/x"):
        resolve_local("s3://b/x", "/somewhere")


@settings(deadline=None)
@given(value=st.text(), base=st.sampled_from(["/somewhere", "s3://bucket/a/b/"]))
def test_result_is_absolute_and_stays_the_same(value, base):
    try:
        absolute = resolve_uri(value, base)
    except ValueError:
        return
    assert absolute.startswith("/") or is_uri(absolute)
    assert resolve_uri(absolute, base) == absolute

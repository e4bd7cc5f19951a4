"""Bearer tokens: what a file of them may hold, and who is let in."""

import types

import purerpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.app.tokens import KEY, Tokens, read_tokens
from hushar.errors import ConfigurationError


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "tokens"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def refusal(hook, *authorizations, service="pkg.Service"):
    """None if the call may begin, else the status that it is refused with."""
    metadata = (("x-other", "Bearer one"), *(("authorization", value) for value in authorizations))
    try:
        hook(types.SimpleNamespace(service_name=service, custom_metadata=metadata))
    except purerpc.RpcFailedError as refused:
        return refused.status.status_code.name
    return None


class TestFile:
    def test_a_line_is_a_token(self, file):
        assert read_tokens(file("one\ntwo\r\n\n  three  \n")) == {"one", "two", "three"}

    def test_comments_and_blank_lines_are_none(self, file):
        text = "# of the first team\none # until May\n\t# and\na#b\n"
        assert read_tokens(file(text)) == {"one", "a#b"}

    def test_a_mark_of_the_encoding_is_no_part_of_the_first(self, file):
        assert read_tokens(file(b"\xef\xbb\xbfone\n")) == {"one"}

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", "holds no token"),
            ("# none\n\n", "holds no token"),
            ("one\ntwo three\n", "line 2: a token is printable ASCII without blanks"),
            ("töken\n", "line 1"),
            ("a\x00b\n", "line 1"),
            (b"\xff\xfe", "is not UTF-8"),
        ],
    )
    def test_anything_else_is_a_mistake_that_shows_no_token(self, file, content, words):
        with pytest.raises(ConfigurationError, match=words) as caught:
            read_tokens(file(content))
        (problem,) = caught.value.problems
        assert (problem.file, problem.key) == ("", KEY)
        assert not {"one", "two", "three", "töken"} & set(problem.message.split())

    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(ConfigurationError, match=f"cannot read {tmp_path}/gone: No such file"):
            read_tokens(str(tmp_path / "gone"))


class TestHook:
    @pytest.fixture
    def hook(self):
        return Tokens({"one", "two"}, ["grpc.health.v1.Health"])

    @pytest.mark.parametrize("value", ["Bearer one", "bearer two", "BEARER  one"])
    def test_who_brings_a_token_is_let_in(self, hook, value):
        assert refusal(hook, value) is None

    @pytest.mark.parametrize(
        "value", ["Bearer three", "Bearer", "Bearer ", "one", "Basic one", "Bearer one two", "Bearer ONE", ""]
    )
    def test_anything_else_is_unauthenticated(self, hook, value):
        assert refusal(hook, value) == "UNAUTHENTICATED"

    def test_so_is_who_brings_none_or_two(self, hook):
        assert refusal(hook) == "UNAUTHENTICATED"
        assert refusal(hook, "Bearer one", "Bearer one") == "UNAUTHENTICATED"

    def test_exempt_services_are_open(self, hook):
        assert refusal(hook, service="grpc.health.v1.Health") is None
        assert refusal(hook, "Bearer three", service="grpc.health.v1.Health") is None
        assert refusal(hook, service="grpc.health.v1.HealthX") == "UNAUTHENTICATED"

    def test_replaced_tokens_hold_from_then_on(self, hook):
        hook.replace({"three"})
        assert refusal(hook, "Bearer three") is None
        assert refusal(hook, "Bearer one") == "UNAUTHENTICATED"

    def test_neither_tokens_nor_what_was_brought_is_told(self, hook):
        metadata = (("authorization", "Bearer geheim"),)
        with pytest.raises(purerpc.RpcFailedError) as caught:
            hook(types.SimpleNamespace(service_name="s", custom_metadata=metadata))
        assert "geheim" not in str(caught.value.status.status_message)
        assert "one" not in str(caught.value.status.status_message).split()

    @given(st.sets(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)), st.text())
    def test_exactly_the_tokens_are_known(self, tokens, other):
        hook = Tokens(tokens, [])
        assert all(refusal(hook, f"Bearer {token}") is None for token in tokens)
        if other.strip() not in tokens:
            assert refusal(hook, f"Bearer {other}") == "UNAUTHENTICATED"

"""`log.exclude`, `log.hash`, `log.hash_key_file`: from the configuration to the log."""

import ast
import hashlib
import hmac
import re
import tomllib
from pathlib import Path

import pytest

from hushar.app import privacy
from hushar.app.banner import warnings_of
from hushar.errors import ConfigurationError
from hushar.inference.privacy import Privacy, canonical
from hushar.proto.structs_pb2 import DataType

LOGGED = {"uri": "logs"}


async def problems(preparation):
    with pytest.raises(ConfigurationError) as caught:
        await preparation
    return [(problem.key, problem.message) for problem in caught.value.problems]


class TestKey:
    @pytest.mark.parametrize(
        ("content", "key"),
        [(b"k", b"k"), (b"k\n", b"k"), (b"k\n\n", b"k\n"), (b"k\r\n", b"k\r"), (b"\0\xff \n", b"\0\xff ")],
    )
    async def test_the_bytes_of_the_file_without_one_newline(self, workspace, content, key):
        workspace.write("key", content)
        prepared = await workspace.prepare(log={**LOGGED, "hash": ["a"], "hash_key_file": "key"})
        assert prepared.hash_key == key
        assert f"hash_key={key!r}" not in repr(prepared)

    @pytest.mark.parametrize("content", [b"", b"\n"])
    async def test_an_empty_file_is_a_mistake(self, workspace, content):
        workspace.write("key", content)
        found = await problems(workspace.prepare(log={**LOGGED, "hash": ["a"], "hash_key_file": "key"}))
        assert found == [
            ("log.hash_key_file", f"{workspace.path('key')} holds no key: anybody could compute the hashes")
        ]

    @pytest.mark.parametrize("what", ["gone", "."])
    async def test_a_file_that_cannot_be_read_is_a_mistake(self, workspace, what):
        ((key, message),) = await problems(
            workspace.prepare(log={**LOGGED, "hash": ["a"], "hash_key_file": what})
        )
        assert key == "log.hash_key_file"
        assert message.startswith("cannot read ")

    async def test_hash_needs_it(self, workspace):
        ((key, message),) = await problems(workspace.prepare(log={**LOGGED, "hash": ["a"]}))
        assert "log.hash_key_file" in f"{key} {message}"


class TestPrivacy:
    async def test_without_names_there_is_none(self, workspace):
        section = (await workspace.prepare(log=LOGGED)).configuration.log
        assert privacy.make_privacy(section, None, readable=True) is None

    async def test_of_the_configuration(self, workspace):
        workspace.write("key", b"secret\n")
        log = {**LOGGED, "exclude": ["a*"], "hash": ["b"], "hash_key_file": "key"}
        prepared = await workspace.prepare(log=log)
        made = privacy.make_privacy(prepared.configuration.log, prepared.hash_key, readable=False)
        row = b"\x12\x0a\x0a\x01a\x12\x05\x15\0\0\xc0\x3f" + b"\x12\x0a\x0a\x01b\x12\x05\x15\0\0\xc0\x3f"
        digest = hmac.new(b"secret", b"\x15\0\0\xc0\x3f", hashlib.sha256).hexdigest().encode()
        kept = b"\x12\x47\x0a\x01b\x12\x42\x2a\x40" + digest
        assert made.in_request(b"\x12\x18" + row) == b"\x12\x49" + kept

    async def test_a_name_that_no_feature_has_is_told(self, workspace):
        workspace.write("key", b"secret")
        log = {**LOGGED, "exclude": ["a", "ab*"], "hash": ["?", "c"], "hash_key_file": "key"}
        told = list(warnings_of(await workspace.prepare(log=log)))
        assert told == [
            "log.exclude: 'ab*' matches no feature of the vectorization",
            "log.hash: 'c' matches no feature of the vectorization",
        ]
        assert list(warnings_of(await workspace.prepare(log={**log, "uri": None}))) == []


class TestDocs:
    """docs/privacy.md says what is so."""

    page = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text(encoding="utf-8")

    def block(self, language):
        (found,) = re.findall(rf"^```{language}\n(.*?)^```", self.page, re.MULTILINE | re.DOTALL)
        return found

    async def test_the_configuration_works(self, workspace):
        workspace.write("hash.key", b"key\n")
        prepared = await workspace.prepare(**tomllib.loads(self.block("toml")))
        assert prepared.configuration.log.exclude == ("card_number", "debug_*")
        assert prepared.hash_key == b"key"

    def test_a_hash_is_computed_as_the_example_does(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "hash.key").write_bytes(b"key\n")
        monkeypatch.chdir(tmp_path)
        exec(compile(self.block("python"), "docs/privacy.md", "exec"), {})
        value = b"\x2a\x10jane@example.com"
        made = Privacy([], ["*"], b"key").hashed(value)
        assert made == b"\x2a\x40" + capsys.readouterr().out.strip().encode()

    def test_the_table_has_the_bytes_of_protobuf(self):
        rows = re.findall(r"^\| `(\w+): (.*)` \| `([0-9a-f ]+)` \|$", self.page, re.MULTILINE)
        assert len(rows) == 7
        for kind, written, content in rows:
            value = ast.literal_eval(written.replace("values", "'values'"))
            made = DataType(**{kind: value}).SerializeToString()
            assert made == bytes.fromhex(content.replace(" ", "")) == canonical(made)

"""The storages of plugins behind the commands that read logs."""

import json
import threading

import pytest
import trio
import trio.testing
from pydantic import BaseModel, ConfigDict

from hushar.cli.logstores import PluginStores
from hushar.errors import ConfigurationError, StorageError
from hushar.plugins import Blob, Entry, Storage
from hushar.proto.structs_pb2 import InferenceLogBatch, InferenceLogs, SegmentInfo

DAY_ONE = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class Memory(Storage):
    """Objects of a dict; every call is noted with the thread that it came in."""

    def __init__(self, objects, calls, settings=None):
        self.objects = objects
        self.calls = calls
        self.calls.append(("made", settings))

    async def read(self, uri):
        await trio.lowlevel.checkpoint()
        self.calls.append(("read", threading.current_thread().name))
        if uri not in self.objects:
            raise StorageError(f"cannot read {uri}: gone")
        return Blob(uri, self.objects[uri])

    async def entries(self, uri, *, after=None):
        try:
            for each in sorted(self.objects):
                if each.startswith(uri.rstrip("/")) and (after is None or each > after):
                    await trio.lowlevel.checkpoint()
                    yield Entry(each, len(self.objects[each]))
        finally:
            self.calls.append(("left", None))

    async def aclose(self):
        self.calls.append(("closed", None))


@pytest.fixture
def objects():
    return {}


@pytest.fixture
def calls(install_plugin, objects):
    calls = []
    install_plugin("cloud", storages={"mem": lambda context: Memory(objects, calls, context.settings)})
    return calls


def seen(stores, uri, take=lambda entry: True):
    found = []

    def visit(entry):
        found.append(entry.uri)
        return take(entry)

    stores.visit(uri, None, visit)
    return found


def test_a_storage_is_made_once_read_in_its_loop_and_closed(calls, objects):
    objects |= {"mem://b/x": b"1", "mem://b/y": b"2"}
    with PluginStores() as stores:
        assert calls == []
        assert seen(stores, "mem://b") == ["mem://b/x", "mem://b/y"]
        assert stores.read("mem://b/y") == b"2"
        assert seen(stores, "mem://b", lambda entry: False) == ["mem://b/x"]
    assert calls == [
        ("made", None),
        ("left", None),
        ("read", "hushar storages"),
        ("left", None),
        ("closed", None),
    ]
    assert "hushar storages" not in [thread.name for thread in threading.enumerate()]


def test_nothing_is_loaded_for_a_local_file():
    with PluginStores(pytest.fail):
        pass


def test_errors_come_through(calls):
    with PluginStores() as stores:
        with pytest.raises(StorageError, match="cannot read mem://gone: gone"):
            stores.read("mem://gone")
        with pytest.raises(
            ConfigurationError, match=r"^men://x: nothing installed reads men://.* 'mem'\?.*$"
        ):
            stores.read("men://x")


@pytest.mark.parametrize("method", ["read", "entries", "aclose"])
def test_a_plugin_that_breaks_is_named(install_plugin, monkeypatch, method):
    class Broken(Memory):
        pass

    async def broken(self, *_):
        raise KeyError("x")

    async def broken_entries(self, uri, *, after=None):
        raise KeyError("x")
        yield

    monkeypatch.setattr(Broken, method, broken_entries if method == "entries" else broken)
    install_plugin("cloud", storages={"mem": lambda context: Broken({"mem://x": b""}, [])})
    with PluginStores() as stores:
        if method == "aclose":
            assert stores.read("mem://x") == b""
            return
        with pytest.raises(
            ConfigurationError, match=r"plugins: cloud: hushar_storages: 'mem': KeyError\('x'\)"
        ):
            stores.read("mem://x") if method == "read" else seen(stores, "mem://x")


class Slow(Memory):
    """Counts the reads that are under way."""

    under_way = most = 0

    async def read(self, uri):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await trio.testing.wait_all_tasks_blocked()
        self.under_way -= 1
        return await super().read(uri)


@pytest.fixture
def slow(install_plugin, objects):
    """A storage whose reads overlap, made beforehand."""
    storage = Slow(objects, [])
    install_plugin("cloud", storages={"mem": lambda context: storage})
    return storage


def reads(storage):
    return sum(call[0] == "read" for call in storage.calls)


def test_small_objects_are_read_ahead_a_few_at_a_time(slow, objects):
    entries = [Entry(f"mem://{index}", 1000) for index in range(30)]
    objects |= {entry.uri: entry.uri.encode() for entry in entries}
    with PluginStores() as stores:
        stores.expect(entries)
        for entry in entries:
            assert stores.read(entry.uri) == entry.uri.encode()
        assert reads(slow) == 30
        # Again, from the start, and then from somewhere else.
        assert stores.read("mem://0") == b"mem://0"
        assert stores.read("mem://20") == b"mem://20"
    assert 3 <= slow.most <= 9


def test_large_objects_are_read_one_at_a_time(slow, objects):
    entries = [Entry(f"mem://{index}", 20 << 20) for index in range(5)]
    objects |= {entry.uri: b"x" for entry in entries}
    with PluginStores() as stores:
        stores.expect(entries)
        for entry in entries:
            assert stores.read(entry.uri) == b"x"
        assert reads(slow) == 5
    assert slow.most == 1


def test_what_cannot_be_read_ahead_fails_when_its_turn_comes(slow, objects):
    entries = [Entry(f"mem://{index}", 1) for index in range(4)]
    objects |= {entry.uri: b"x" for entry in entries if entry.uri != "mem://2"}
    with PluginStores() as stores:
        stores.expect(entries)
        assert stores.read("mem://0") == stores.read("mem://1") == b"x"
        with pytest.raises(StorageError, match="cannot read mem://2: gone"):
            stores.read("mem://2")
        assert stores.read("mem://3") == b"x"


def test_what_is_read_ahead_in_vain_keeps_nobody_waiting(slow, objects, monkeypatch):
    async def read(self, uri):
        if uri != "mem://0":
            await trio.sleep_forever()
        return Blob(uri, b"x")

    monkeypatch.setattr(Slow, "read", read)
    with PluginStores() as stores:
        stores.expect([Entry("mem://0", 1), Entry("mem://1", 1)])
        assert stores.read("mem://0") == b"x"
    assert slow.calls[-1] == ("closed", None)


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    region: str = "here"
    size: int = 1


def test_a_plugin_has_the_settings_of_the_environment(install_plugin, objects, monkeypatch):
    calls = []
    install_plugin(
        "cloud",
        storages={"mem": lambda context: Memory({"mem://x": b""}, calls, context.settings)},
        settings=Settings,
    )
    monkeypatch.setenv("HUSHAR_PLUGINS__CLOUD__SIZE", "7")
    monkeypatch.setenv("HUSHAR_PLUGINS__OTHER__SIZE", "8")
    with PluginStores() as stores:
        stores.read("mem://x")
    assert calls[0] == ("made", Settings(size=7))
    monkeypatch.setenv("HUSHAR_PLUGINS__CLOUD__SIZE", "many")
    with PluginStores() as stores, pytest.raises(ConfigurationError, match="HUSHAR_PLUGINS__CLOUD__SIZE"):
        stores.read("mem://x")


@pytest.fixture
def logs(objects):
    total = 0
    for number in (1, 2, 3):
        total += number
        opened = DAY_ONE + number
        row = {"row_id": "r", "features": {"age": {"float_value": 1}}, "scores": [1]}
        batches = [
            InferenceLogBatch(
                request_id=f"q{number}-{index}", received_unix_micros=opened, inference_log_rows=[row]
            )
            for index in range(number)
        ]
        info = SegmentInfo(instance="i", worker=1, segment=number, batches=number, total_batches=total)
        name = f"mem://b/log/year=2026/month=01/day=01/hour=00/mi=00/x_{opened}.pb"
        objects[name] = InferenceLogs(inferenceLogBatches=batches, segment_info=[info]).SerializeToString()
    return list(objects)


def test_every_command_reads_the_logs_of_a_plugin(hushar, calls, objects, logs, tmp_path):
    ran = hushar("logs", "cat", "mem://b/log")
    assert (ran.status, ran.err) == (0, "")
    assert [json.loads(line)["request_id"] for line in ran.out.splitlines()][:3] == ["q1-0", "q2-0", "q2-1"]
    assert hushar("logs", "cat", "mem://b/log", "--since", "2026-01-03T00:01").out == ""
    config = tmp_path / "v.json"
    transformation = {"type": "identity", "default_val": [0]}
    config.write_text(
        json.dumps({"feature_order": ["age"], "feature_transformations": {"age": transformation}})
    )
    ran = hushar("logs", "convert", "mem://b/log", "--output", tmp_path / "t.csv", "--config", config)
    assert (ran.status, ran.out) == (0, "6 rows\n")
    ran = hushar("logs", "verify", "mem://b/log")
    assert (ran.status, ran.out) == (0, "complete: 6 batches\n")
    del objects[logs[1]]
    ran = hushar("logs", "verify", "mem://b/log")
    assert (ran.status, ran.out.splitlines()[-1]) == (1, "incomplete: 2 of 6 batches missing")


@pytest.mark.parametrize("command", ["cat", "verify"])
def test_what_is_not_there_is_a_mistake(hushar, calls, command):
    ran = hushar("logs", command, "mem://b/absent")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "mem://b/absent: there is nothing of this name\n"


def test_an_object_that_goes_away_is_told_and_the_others_are_printed(
    hushar, calls, objects, logs, monkeypatch
):
    async def read(self, uri):
        if uri == logs[0]:
            raise StorageError(f"cannot read {uri}: gone")
        return Blob(uri, objects[uri])

    monkeypatch.setattr(Memory, "read", read)
    ran = hushar("logs", "cat", "mem://b/log")
    assert (ran.status, len(ran.out.splitlines())) == (1, 5)
    assert ran.err == f"cannot read {logs[0]}: gone\n"

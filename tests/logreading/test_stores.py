"""Logs in a store: which are listed, and that other times' partitions cost nothing."""

import gzip
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hushar.errors import ConfigurationError, StorageError
from hushar.logreading.partitions import Window, partition_of
from hushar.logreading.source import log_files, read_batches
from hushar.logreading.stores import stored_logs
from hushar.logreading.times import parse_time
from hushar.proto.structs_pb2 import InferenceLogs

EVERYTHING = Window()


@dataclass
class Entry:
    uri: str
    size_bytes: int


class Store:
    """As S3: names in the order of their bytes, no folders."""

    def __init__(self, objects):
        self.objects = {uri: objects[uri] for uri in sorted(objects, key=str.encode)}
        self.given = 0
        self.visits = 0

    def visit(self, uri, after, take):
        self.visits += 1
        for each, data in self.objects.items():
            if each == uri or each.startswith(uri.rstrip("/") + "/"):
                if after is not None and each.encode() <= after.encode():
                    continue
                self.given += 1
                if not take(Entry(each, len(data))):
                    return

    def expect(self, objects):
        self.expected = [each.uri for each in objects]

    def read(self, uri):
        if uri not in self.objects:
            raise StorageError(f"cannot read {uri}: it is gone")
        return self.objects[uri]


def window(since=None, until=None):
    def time(text):
        return None if text is None else parse_time(text, now_unix_micros=0)

    return Window(time(since), time(until))


def listed(store, uri="s3://b/log", **limits):
    return [entry.uri.removeprefix("s3://b/log/") for entry in stored_logs(store, uri, window(**limits))]


def test_logs_below_a_name_are_listed_and_nothing_beside_it():
    names = ["a.pb", "b/c.pb.gz", "b/d/e.pb.zst", "b.json", ".spool/x.pb", "b/.y.pb", "b/z.pb.tmp", "pb"]
    store = Store(
        {f"s3://b/log/{name}": b"" for name in names} | {"s3://b/log-2/x.pb": b"", "s3://b/x.pb": b""}
    )
    for uri in ("s3://b/log", "s3://b/log/"):
        assert listed(store, uri) == ["a.pb", "b/c.pb.gz", "b/d/e.pb.zst"]


def test_an_object_that_is_named_itself_is_taken_whatever_its_name():
    store = Store({"s3://b/log/.x": b"1", "s3://b/log/.x/y.pb": b"2", "s3://b/log/.x/z": b""})
    assert listed(store, "s3://b/log/.x") == [".x", ".x/y.pb"]


def test_a_whole_bucket_can_be_a_source():
    store = Store({"s3://b/log/x.pb": b"", "s3://b/y.pb": b""})
    assert listed(store, "s3://b") == listed(store, "s3://b/") == ["x.pb", "s3://b/y.pb"]


def minutes(*days, root="s3://b/log"):
    return {
        f"{root}/year={day[:4]}/month={day[5:7]}/day={day[8:]}/hour={hour:02}/mi={minute:02}/x_{n}.pb": b""
        for n, day in enumerate(days)
        for hour in range(24)
        for minute in range(0, 60, 10)
    }


def test_partitions_of_other_times_are_jumped_over():
    days = [
        f"{year}-{month:02}-{day:02}"
        for year in (2024, 2025, 2026)
        for month in range(1, 13)
        for day in (1, 2, 15, 28)
    ]
    store = Store(minutes(*days) | {"s3://b/log/zz.pb": b"", "s3://b/log/aa.pb": b""})
    found = listed(store, since="2025-06-15T06:00", until="2025-06-15T07:00")
    assert all("year=2025/month=06/day=15" in name for name in found[1:-1])
    assert (found[0], found[-1]) == ("aa.pb", "zz.pb")
    # The day's, and one object for every folder that was jumped over.
    assert len(found) == 24 * 6 + 2
    assert store.given - len(found) == store.visits - 1 <= 2 + 11 + 3
    # Whatever was there is the same as by looking at everything.
    assert found == [
        uri.removeprefix("s3://b/log/")
        for uri in store.objects
        if (part := partition_of_(uri)) is None
        or window("2025-06-15T06:00", "2025-06-15T07:00").may_hold(part)
    ]


def partition_of_(uri):
    from pathlib import PurePosixPath  # noqa: PLC0415

    return partition_of(PurePosixPath(uri).parent)


NAMES = st.lists(
    st.sampled_from(
        [
            "year=2025",
            "year=2026",
            "month=01",
            "month=06",
            "day=01",
            "day=15",
            "hour=05",
            "x",
            "~",
            "ü",
            "year=x",
        ]
    ),
    max_size=5,
).map(lambda parts: "/".join(["s3://b/log", *parts, "x.pb"]))


@settings(deadline=None)
@given(
    uris=st.sets(NAMES, max_size=30),
    since=st.sampled_from([None, "2025-06-01", "2026-01-10", "2026-06-16"]),
    until=st.sampled_from([None, "2025-01-20", "2026-01-02", "2026-06-15"]),
)
def test_jumping_finds_what_looking_at_everything_finds(uris, since, until):
    uris = {*uris, "s3://b/log/other"}
    chosen = window(since, until)
    wanted = []
    for uri in sorted(uris - {"s3://b/log/other"}, key=str.encode):
        parts = uri.split("/")
        folders = ["/".join(parts[:count]) for count in range(4, len(parts))]
        partitions = [partition_of_(f"{folder}/x") for folder in folders]
        if all(part is None or chosen.may_hold(part) for part in partitions):
            wanted.append(uri)
    assert [
        entry.uri for entry in stored_logs(Store(dict.fromkeys(uris, b"")), "s3://b/log", chosen)
    ] == wanted


def test_a_folder_that_is_named_itself_is_looked_into_at_any_time(write_log):
    name = "year=2025/month=01/day=01"
    store = Store({f"s3://b/log/{name}/x.pb": b"", f"s3://b/log/{name}/hour=01/y.pb": b""})
    assert listed(store, f"s3://b/log/{name}", since="2026-01-01") == [f"{name}/x.pb"]
    local = write_log(f"log/{name}/x.pb").parent
    write_log(f"log/{name}/hour=01/y.pb")
    assert [file.name for file in log_files([str(local)], window(since="2026-01-01"))] == [f"{local}/x.pb"]


def test_a_source_is_there_if_anything_is():
    store = Store({"s3://b/log/readme": b"", **minutes("2025-01-01", root="s3://b/old")})
    assert listed(store) == []
    assert listed(store, "s3://b/old", since="2026-01-01") == []
    with pytest.raises(ValueError, match="there is nothing of this name"):
        listed(store, "s3://b/absent")


def test_files_of_a_store_and_of_a_disk_are_one_log_in_the_order_of_time(write_log, batch):
    local = write_log("log/b_2.pb", batch("second"))
    stored = {
        f"s3://b/log/{name}": InferenceLogs(inferenceLogBatches=[batch(id_)]).SerializeToString()
        for name, id_ in (("c_1.pb", "first"), ("a_3.pb", "third"))
    }
    stored["s3://b/log/d_4.pb.gz"] = gzip.compress(stored["s3://b/log/a_3.pb"])
    sources = ["s3://b/log", str(local.parent), "s3://b/log/a_3.pb"]
    store = Store(stored)
    files = log_files(sources, EVERYTHING, store)
    assert store.expected == [f"s3://b/log/{name}" for name in ("c_1.pb", "a_3.pb", "d_4.pb.gz")]
    assert [file.opened_unix_micros for file in files] == [1, 2, 3, 4]
    read = []
    ids = [each.request_id for file in files for each in read_batches(file, read.append)]
    assert ids == ["first", "second", "third", "third"]
    assert sum(read) == sum(file.size_bytes for file in files)


def test_what_goes_away_meanwhile_is_missed(batch):
    store = Store({"s3://b/log/x.pb": b""})
    [file] = log_files(["s3://b/log"], EVERYTHING, store)
    store.objects.clear()
    with pytest.raises(StorageError, match="it is gone"):
        list(read_batches(file))


def test_every_source_that_is_not_there_is_named():
    class Failing(Store):
        def visit(self, uri, after, take):
            if "denied" in uri:
                raise StorageError(f"cannot list {uri}: AccessDenied")
            super().visit(uri, after, take)

    with pytest.raises(ConfigurationError) as caught:
        log_files(["s3://denied", "s3://b/absent", "absent"], EVERYTHING, Failing({}))
    assert [str(problem) for problem in caught.value.problems] == [
        "cannot list s3://denied: AccessDenied",
        "s3://b/absent: there is nothing of this name",
        "absent: No such file or directory",
    ]

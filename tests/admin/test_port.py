"""What is answered under which path."""

import dataclasses
import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from hushar.admin import port as module
from hushar.admin.exposition import OPENMETRICS, PLAIN
from hushar.admin.history import STEP_SECONDS
from hushar.admin.reading import FeatureCounts, Source, State
from hushar.bench.stages import read_totals
from hushar.client.address import Address

PATHS = ["/", "/status.json", "/metrics", "/healthz", "/readyz"]


@pytest.mark.parametrize("state", State)
async def test_alive_from_the_first_moment_to_the_end_ready_in_between(asked, state):
    asked.port.state = state
    assert (await asked.get("/healthz")).status_code == 200
    ready = await asked.get("/readyz")
    assert (ready.status_code, ready.text) == (200 if state is State.READY else 503, f"{state.value}\n")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("is_ready", [False, True])
async def test_every_path_answers_at_any_time_and_is_not_kept(asked, path, is_ready):
    if is_ready:
        asked.ready()
    answer = await asked.get(path)
    assert answer.status_code == (503 if path == "/readyz" and not is_ready else 200)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_can_be_changed(asked, path):
    for method in (b"POST", b"PUT", b"DELETE"):
        said = await asked.talk(
            method + b" %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode()
        )
        assert said.startswith(b"HTTP/1.1 405 ")
    head = await asked.talk(b"HEAD %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path.encode())
    assert head.endswith(b"\r\n\r\n")


class TestMetrics:
    @pytest.mark.parametrize(
        ("accept", "content_type"), [("*/*", PLAIN), ("application/openmetrics-text", OPENMETRICS)]
    )
    async def test_the_format_is_the_one_asked_for(self, asked, accept, content_type):
        asked.ready()
        answer = await asked.get("/metrics", accept=accept)
        assert answer.headers["content-type"] == content_type
        assert "hushar_rows_total 77" in answer.text
        assert answer.text.endswith("# EOF\n") == (content_type == OPENMETRICS)

    async def test_each_scrape_reads_anew(self, asked):
        asked.ready()
        for _ in range(3):
            await asked.get("/metrics")
        assert asked.readings == 3

    async def test_the_text_of_very_many_features_is_made_in_a_thread(self, asked, reading, monkeypatch):
        threads = []
        run_sync = trio.to_thread.run_sync

        async def counted(function, *args):
            threads.append(function)
            return await run_sync(function, *args)

        monkeypatch.setattr(module.trio.to_thread, "run_sync", counted)
        features = {f"f{number}": FeatureCounts(number, 0, 0) for number in range(500)}
        asked.ready(dataclasses.replace(reading, features=features))
        text = (await asked.get("/metrics")).text
        assert 'hushar_feature_values_total{feature="f499",outcome="missing"} 499.0' in text
        assert len(threads) == 1

    async def test_the_load_generator_reads_the_stages(self, asked):
        asked.ready()
        totals = await read_totals(Address("127.0.0.1", asked.number))
        assert totals.counts == dict.fromkeys(("decode", "queue", "vectorize", "run", "encode"), 11)
        assert totals.sums["run"] == 0.02

    async def test_a_reading_that_fails_is_a_failed_scrape_and_no_more(self, asked, caplog):
        def fail():
            raise ZeroDivisionError("bug")

        asked.ready()
        asked.port.source = dataclasses.replace(asked.port.source, read=fail)
        assert (await asked.get("/metrics")).status_code == 500
        await wait_all_tasks_blocked()
        assert "bug" in caplog.text
        assert (await asked.get("/healthz")).status_code == 200


class TestStatus:
    async def test_before_there_is_anything_to_read(self, asked):
        found = (await asked.get("/status.json")).json()
        assert found.keys() == {"state", "uptime_seconds", "messages"}
        assert found["state"] == "starting"

    async def test_what_the_page_shows(self, asked):
        asked.ready()
        found = (await asked.get("/status.json")).json()
        assert found["state"] == "ready"
        assert found["served"]["model_id"] == "penguins"
        assert found["methods"][0] == {
            "method": "hushar.Hushar/InferenceService",
            "started": 45,
            "in_flight": 2,
            "handled": {"OK": 40, "INVALID_ARGUMENT": 3},
        }
        shed = found["queue"].pop("shed")
        assert found["queue"] == {"in_flight": 2, "calls": 1, "rows": 5}
        assert (shed["queue_seconds"], shed["in_flight"], len(shed)) == (7, 2, 5)
        log = found["log"]
        lost = sum(log["dropped"].values()) + log["dead_lettered"]
        assert log["accepted"] == log["delivered"] + log["spooled"] + lost == 100
        assert [sink["name"] for sink in found["sinks"]] == ["s3://bucket/logs", "stderr"]
        assert [each["feature"] for each in found["features"]] == ['odd "name"\\\n']
        assert found["recent"] == {}

    async def test_where_nothing_is_logged(self, asked, without_log):
        asked.ready(without_log)
        found = (await asked.get("/status.json")).json()
        assert (found["log"], found["features"]) == (None, [])

    async def test_the_last_warnings_newest_first(self, asked):
        for number in range(30):
            asked.port.messages.handle(
                logging.LogRecord("hushar.log", logging.WARNING, "", 0, "number %d", (number,), None)
            )
        messages = (await asked.get("/status.json")).json()["messages"]
        assert [each["message"] for each in messages] == [f"number {number}" for number in range(29, 9, -1)]
        assert messages[0].keys() == {"time", "level", "logger", "message"}


async def test_the_port_looks_at_what_happens_by_itself(autojump_clock, nursery, glance):
    port = module.AdminPort()
    await nursery.start(port.watch)
    await trio.sleep(3.5 * STEP_SECONDS)
    assert port.history.recent() == {}
    port.source = Source({}, lambda: None, glance)
    await trio.sleep(3 * STEP_SECONDS)
    assert port.history.recent()["seconds"] == 2 * STEP_SECONDS

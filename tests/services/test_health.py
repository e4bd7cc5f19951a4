"""grpc.health.v1.Health: what a probe and a watching client are told, until the server has ended."""

import grpc
import pytest
import trio

from hushar.services import health
from hushar.services.health import NOT_SERVING, SERVICE_UNKNOWN, SERVING, Health
from hushar.services.health import HealthCheckRequest as Request
from hushar.services.health import HealthCheckResponse as Response

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"


@pytest.fixture
async def started(serve):
    """A Health with the service "own", and the server that tells it."""
    state = Health(["own"])
    return state, await serve(state.service)


async def check(remote, name):
    return (await remote.unary(CHECK, Request(service=name), Response)).status


class Watcher:
    """A Watch in a task of its own."""

    def __init__(self, remote, name):
        self.told, self.end = [], None
        self.ended = trio.Event()
        self._changed = trio.Event()
        self._remote, self._name = remote, name

    def _take(self, answers):
        self.told = [answer.status for answer in answers]
        self._changed.set()
        self._changed = trio.Event()

    async def run(self):
        asked = [Request(service=self._name)]
        answers, self.end = await self._remote.stream(WATCH, asked, Response, on_answer=self._take)
        self.told = [answer.status for answer in answers]
        self.ended.set()

    async def until(self, *told):
        with trio.fail_after(10):
            while self.told != list(told):
                await self._changed.wait()


@pytest.fixture
async def watch(nursery):
    async def start(remote, name):
        watcher = Watcher(remote, name)
        nursery.start_soon(watcher.run)
        return watcher

    return start


class TestCheck:
    @pytest.mark.parametrize("name", ["", "own"])
    async def test_the_server_and_its_services_are_serving(self, started, name):
        _, remote = started
        assert await check(remote, name) == SERVING

    async def test_a_service_that_is_not_there_is_not_found(self, started):
        _, remote = started
        with pytest.raises(grpc.RpcError) as caught:
            await check(remote, "other")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    async def test_what_is_not_ready_is_not_serving(self, started):
        state, remote = started
        state.set_serving("own", False)
        assert [await check(remote, name) for name in ("own", "")] == [NOT_SERVING, SERVING]
        state.set_serving("own", True)
        assert await check(remote, "own") == SERVING

    async def test_at_the_end_nothing_is_serving_whatever_is_said(self, started):
        state, remote = started
        state.drain()
        state.set_serving("own", True)
        assert [await check(remote, name) for name in ("own", "")] == [NOT_SERVING, NOT_SERVING]


class TestWatch:
    async def test_it_tells_every_change_once(self, started, watch):
        state, remote = started
        watcher = await watch(remote, "own")
        await watcher.until(SERVING)
        state.set_serving("own", True)
        state.set_serving("", False)
        state.set_serving("own", False)
        await watcher.until(SERVING, NOT_SERVING)
        state.set_serving("own", True)
        await watcher.until(SERVING, NOT_SERVING, SERVING)
        state.drain()
        await watcher.ended.wait()

    async def test_a_service_that_is_not_there_may_still_come(self, started, watch):
        state, remote = started
        watcher = await watch(remote, "later")
        await watcher.until(SERVICE_UNKNOWN)
        state.set_serving("later", True)
        await watcher.until(SERVICE_UNKNOWN, SERVING)
        state.drain()
        await watcher.ended.wait()

    async def test_at_the_end_it_says_so_and_ends_and_holds_nothing_up(self, started, watch):
        state, remote = started
        watchers = [await watch(remote, name) for name in ("", "own")]
        for watcher in watchers:
            await watcher.until(SERVING)
        unknown = await watch(remote, "other")
        await unknown.until(SERVICE_UNKNOWN)
        state.drain()
        for watcher in watchers:
            await watcher.ended.wait()
            assert (watcher.told, watcher.end) == ([SERVING, NOT_SERVING], "UNAVAILABLE")
        await unknown.ended.wait()
        assert (unknown.told, unknown.end) == ([SERVICE_UNKNOWN], "UNAVAILABLE")
        assert remote.server.in_flight == 0

    async def test_one_that_begins_after_the_end_ends_too(self, started, watch):
        state, remote = started
        state.drain()
        watcher = await watch(remote, "")
        await watcher.ended.wait()
        assert (watcher.told, watcher.end) == ([NOT_SERVING], "UNAVAILABLE")


def test_the_numbers_are_those_of_the_protocol():
    values = health.TYPES["HealthCheckResponse"].DESCRIPTOR.enum_types_by_name["ServingStatus"].values_by_name
    assert {name: value.number for name, value in values.items()} == {
        "UNKNOWN": health.UNKNOWN,
        "SERVING": 1,
        "NOT_SERVING": 2,
        "SERVICE_UNKNOWN": 3,
    }
    assert (SERVING, NOT_SERVING, SERVICE_UNKNOWN) == (1, 2, 3)

"""What the generator does beside making calls, on a clock that jumps."""

from types import SimpleNamespace

import pytest
import trio

from hushar.bench.generator import Generator
from hushar.bench.recording import Recorder, Window


@pytest.mark.parametrize(
    ("seconds", "looks"), [(1e-9, 500), (0.00001, 500), (0.1, 200), (0.4, 50), (1.0, 20), (3600.0, 20)]
)
async def test_however_short_a_time_out_is_looking_for_overdue_calls_leaves_the_core_free(
    autojump_clock, seconds, looks
):
    generator, seen = Generator(Recorder(Window(0.0, 1.0), 0.1), iter(())), []
    generator.lines = SimpleNamespace(all=[])

    def look(now, limit):
        seen.append(limit)
        assert len(seen) < 1000

    generator.expire = look
    with trio.move_on_after(1.0):
        await generator.watch(seconds, task_status=trio.TASK_STATUS_IGNORED)
    assert len(seen) == pytest.approx(looks, abs=1)
    assert set(seen) == {seconds}

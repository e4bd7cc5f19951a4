"""Writing beside the event loop: every byte in its order, what has become of it, and no way in which the
thread is at work when its caller believes that it is not."""

import errno
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from hushar.sidecars import pen as pens
from hushar.sidecars.appending import MOST_STEPS, Job
from hushar.sidecars.pen import Pen, make_pen, no_pen

NOT_BUILT = "needs tool: a C compiler when hushar is installed (pip install --force-reinstall hushar)"
HUGE = 2**63 - 1


@pytest.fixture
def pen():
    if pens._pen is None:
        pytest.skip(NOT_BUILT)
    pen = make_pen()
    assert pen is not None
    yield pen
    pen.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.fixture
def file(path):
    """The descriptor of a file that grows."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


class FullPipe:
    """A pipe with room for nothing: who writes waits until somebody reads."""

    def __init__(self):
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        self.filling = 0
        try:
            while True:
                self.filling += os.write(self.writing, bytes(512))
        except BlockingIOError:
            os.set_blocking(self.writing, True)
        self._read = os.read

    def take(self, size):
        """So many bytes, without those that filled it; waits for them."""
        content, size = b"", size + self.filling
        while len(content) < size:
            content += self._read(self.reading, size - len(content))
        begin, self.filling = self.filling, 0
        return content[begin:]

    def close(self):
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def pipe():
    pipe = FullPipe()
    yield pipe
    pipe.close()


def descriptors():
    return sorted(os.listdir("/dev/fd"))  # noqa: PTH208 - names only


class TestWriting:
    async def test_all_bytes_are_written_in_their_order(self, pen, file, path):
        pieces = [b"one", memoryview(b"-two-")[1:4], bytearray(b"three"), b"", b"x" * 300_000]
        done = await pen.write(Job(file, 0, [(file, piece) for piece in pieces]))
        assert done == (sum(map(len, pieces)), 0)
        assert path.read_bytes() == b"".join(pieces)

    async def test_several_descriptors_of_one_file_are_used_as_they_come(self, pen, file, path):
        other = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            assert await pen.write(Job(file, 0, [(file, b"a"), (other, b"b"), (file, b"c")])) == (3, 0)
        finally:
            os.close(other)
        assert path.read_bytes() == b"abc"

    async def test_one_job_after_the_other(self, pen, file, path):
        for number in range(2000):
            steps = [(file, b"%d " % number)] * (number % 3)
            assert await pen.write(Job(file, 0, steps)) == (sum(len(data) for _, data in steps), 0)
        assert path.read_bytes() == b"".join(b"%d " % n * (n % 3) for n in range(2000))

    async def test_as_many_writes_at_once_as_there_may_be_and_not_one_more(self, pen, file, path):
        with pytest.raises(ValueError, match="more than 64 writes"):
            await pen.write(Job(file, 0, [(file, b"no")] * (MOST_STEPS + 1)))
        assert await pen.write(Job(file, 0, [(file, b"a")] * MOST_STEPS)) == (MOST_STEPS, 0)
        assert path.read_bytes() == b"a" * MOST_STEPS

    async def test_without_eventfd_a_pipe_says_that_it_is_done(self, monkeypatch, file, path):
        if pens._pen is None:
            pytest.skip(NOT_BUILT)
        monkeypatch.delattr(os, "eventfd", raising=False)
        before = descriptors()
        pen = make_pen()
        assert len(descriptors()) == len(before) + 2
        for _ in range(100):
            assert await pen.write(Job(file, 0, [(file, b"ab"), (file, b"c")])) == (3, 0)
        pen.close()
        assert descriptors() == before
        assert path.read_bytes() == b"abc" * 100

    def test_the_thread_does_not_wait_for_the_interpreter(self, pen, path):
        """Nobody else gets hold of it here."""
        path.write_bytes(b"\0")
        interval = sys.getswitchinterval()
        with path.open("r+b") as opened, mmap.mmap(opened.fileno(), 1) as seen:
            descriptor = os.open(path, os.O_WRONLY)
            sys.setswitchinterval(10_000)
            try:
                pen._thread.begin(descriptor, 0, [(descriptor, b"x")])
                for _ in range(500_000_000):
                    if seen[0]:
                        break
                there = seen[0]
            finally:
                sys.setswitchinterval(interval)
            os.read(pen._done, 8)
            assert pen._thread.end() == (1, 0)
            os.close(descriptor)
        assert there == ord("x")

    async def test_a_signal_that_hits_the_thread_interrupts_nothing(self, pen, file, pipe):
        with trio.open_signal_receiver(signal.SIGUSR1) as received:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.check, pen, Job(file, 0, [(pipe.writing, b"abc")]), (3, 0))
                await wait_all_tasks_blocked()
                signal.pthread_kill(pen._runner.ident, signal.SIGUSR1)
                async for _ in received:
                    break
                assert pipe.take(3) == b"abc"

    async def check(self, pen, job, expected):
        assert await pen.write(job) == expected


class TestErrors:
    """How many bytes were written before it; and the next job is as if nothing had been."""

    @pytest.fixture(autouse=True)
    def then_all_is_well(self, pen, tmp_path):
        yield
        other = tmp_path / "other"
        with other.open("wb", buffering=0) as opened:
            descriptor = opened.fileno()
            assert trio.run(pen.write, Job(descriptor, 1, [(descriptor, b"well")])) == (4, 0)
        assert other.read_bytes() == b"well"

    async def test_nothing_is_written_to_a_file_that_was_deleted(self, pen, file, path):
        path.unlink()
        assert await pen.write(Job(file, 0, [(file, b"abc")])) == (0, errno.ENOENT)
        assert os.fstat(file).st_size == 0

    async def test_nothing_is_written_where_too_little_would_be_free(self, pen, file, path):
        assert await pen.write(Job(file, HUGE, [(file, b"abc")])) == (0, errno.ENOSPC)
        assert path.read_bytes() == b""
        assert await pen.write(Job(file, 1, [(file, b"abc")])) == (3, 0)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full (Linux)")
    async def test_a_full_disk(self, pen, file, path):
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            steps = [(file, b"abc"), (file, b"de"), (full, b"f"), (file, b"never")]
            assert await pen.write(Job(file, 0, steps)) == (5, errno.ENOSPC)
        finally:
            os.close(full)
        assert path.read_bytes() == b"abcde"

    async def test_a_descriptor_that_is_not_for_writing(self, pen, file, path):
        with path.open("rb") as reading:
            steps = [(file, b"abc"), (reading.fileno(), b"f"), (file, b"never")]
            assert await pen.write(Job(file, 0, steps)) == (3, errno.EBADF)
        assert path.read_bytes() == b"abc"

    async def test_a_descriptor_that_is_closed(self, pen, file, path):
        closed = os.dup(file)
        os.close(closed)
        assert await pen.write(Job(file, 0, [(file, b"abc"), (closed, b"f")])) == (3, errno.EBADF)
        assert await pen.write(Job(closed, 0, [(file, b"never")])) == (0, errno.EBADF)
        assert path.read_bytes() == b"abc"

    async def test_a_pipe_that_nobody_reads_from(self, pen, file, path):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            assert await pen.write(Job(file, 0, [(file, b"abc"), (writing, b"f")])) == (3, errno.EPIPE)
        finally:
            os.close(writing)
        assert path.read_bytes() == b"abc"

    async def test_a_reader_that_goes_in_the_middle(self, pen, file, pipe):
        """What the pipe has taken of the one write is not told; that of the writes before it is."""
        async with trio.open_nursery() as nursery:
            written = []

            async def write():
                written.append(await pen.write(Job(file, 0, [(file, b"abc"), (pipe.writing, b"de")])))

            nursery.start_soon(write)
            await wait_all_tasks_blocked()
            os.close(pipe.reading)
        pipe.reading = os.open(os.devnull, os.O_RDONLY)
        assert written == [(3, errno.EPIPE)]

    async def test_what_is_no_job_leaves_nothing_for_the_next(self, pen, file, path):
        for wrong in [(file, "text"), (file,), ("file", b"abc"), (2**40, b"abc"), None, (file, None)]:
            with pytest.raises((TypeError, ValueError, OverflowError, BufferError)):
                await pen.write(Job(file, 0, [(file, b"never"), wrong]))
        with pytest.raises(OverflowError):
            await pen.write(Job(file, HUGE + 1, [(file, b"never")]))
        assert await pen.write(Job(file, 0, [(file, b"abc")])) == (3, 0)
        assert path.read_bytes() == b"abc"

    @pytest.mark.slow
    @pytest.mark.parametrize("steps", [[6000, 6000], [12_000], [10_000, 1], [10_001]])
    def test_a_write_that_takes_only_a_part_is_carried_on_until_it_is_known_why(self, path, steps):
        """Where files may have ten thousand bytes: in a process of its own, which cannot get rid of that."""
        program = (
            "import json, os, resource, sys, trio\n"
            "from hushar.sidecars.appending import Job\n"
            "from hushar.sidecars.pen import make_pen\n"
            "file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
            "pen = make_pen()\n"
            "steps = [(file, bytes(size)) for size in json.loads(sys.argv[2])]\n"
            "print(json.dumps(trio.run(pen.write, Job(file, 0, steps))))\n"
            "pen.close()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(path), json.dumps(steps)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert json.loads(done.stdout) == [10_000, errno.EFBIG]
        assert path.stat().st_size == 10_000


class TestMemory:
    async def test_it_is_held_while_it_is_written_and_not_longer(self, pen, file, pipe):
        data = bytearray(b"abc")
        view = memoryview(data)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pen.write, Job(file, 0, [(pipe.writing, view), (file, data)]))
            await wait_all_tasks_blocked()
            with pytest.raises(BufferError):
                data.append(1)
            with pytest.raises(BufferError):
                view.release()
            assert pipe.take(3) == b"abc"
        view.release()
        data.append(1)

    async def test_also_where_there_was_an_error(self, pen, file):
        data = bytearray(b"abc")
        assert (await pen.write(Job(file, HUGE, [(file, data)])))[1] == errno.ENOSPC
        data.append(1)

    async def test_what_is_no_job_holds_nothing(self, pen, file):
        data = bytearray(b"abc")
        for wrong in ((file, "text"), ("file", b"abc"), None):
            with pytest.raises(TypeError):
                await pen.write(Job(file, 0, [(file, data), wrong]))
            data.append(1)
        with pytest.raises(ValueError, match="more than"):
            await pen.write(Job(file, 0, [(file, data)] * (MOST_STEPS + 1)))
        data.append(1)

    async def test_nothing_is_left_of_many_jobs(self, pen, file):
        data = b"abc" * 7
        before = sys.getrefcount(data)
        for _ in range(100):
            await pen.write(Job(file, 0, [(file, data)] * 5))
        assert sys.getrefcount(data) == before


class TestWaiting:
    """From the beginning of a job to its end nothing lets go of it."""

    async def test_two_jobs_at_once_are_refused(self, pen, file, path, pipe):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pen.write, Job(file, 0, [(pipe.writing, b"abc"), (file, b"abc")]))
            await wait_all_tasks_blocked()
            with pytest.raises(ValueError, match="the pen writes"):
                await pen.write(Job(file, 0, [(file, b"never")]))
            assert pipe.take(3) == b"abc"
        assert path.read_bytes() == b"abc"
        assert await pen.write(Job(file, 0, [(file, b"d")])) == (1, 0)

    @pytest.fixture
    def drained(self, pipe, monkeypatch):
        """drained(): what the pipe has taken, three bytes; only since this was asked, or somebody waits in
        place. `asked` says which."""
        asked, taken, read = threading.Event(), [], os.read

        def watched(descriptor, size):
            asked.set()
            return read(descriptor, size)

        def drain():
            asked.wait()
            taken.append(pipe.take(3))

        def drained():
            asked.set()
            thread.join()
            return taken

        thread = threading.Thread(target=drain)
        thread.start()
        drained.asked = asked
        monkeypatch.setattr(os, "read", watched)
        yield drained
        drained()

    async def test_a_cancellation_waits_for_the_end_of_what_has_begun(self, pen, file, drained, pipe):
        written, went_on = [], []
        scope = trio.CancelScope()

        async def write():
            with scope:
                written.append(await pen.write(Job(file, 0, [(pipe.writing, b"abc")])))
                await trio.lowlevel.checkpoint()
                went_on.append(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await wait_all_tasks_blocked()
            scope.cancel()
            await wait_all_tasks_blocked()
            # Not in place: the event loop goes on meanwhile.
            assert not drained.asked.is_set()
            assert written == []
            assert drained() == [b"abc"]
        assert (written, went_on) == ([(3, 0)], [])
        assert scope.cancelled_caught

    @pytest.mark.parametrize("times", [1, 3])
    async def test_where_it_cannot_be_waited_for_it_is_waited_for_in_place(
        self, pen, file, path, pipe, drained, monkeypatch, times
    ):
        """The caller would close the file else, and the thread write to whatever has its number then."""

        async def full(descriptor):
            raise OSError(errno.ENOSPC, "no more watches")

        with monkeypatch.context() as patch:
            patch.setattr(trio.lowlevel, "wait_readable", full)
            assert await pen.write(Job(file, 0, [(pipe.writing, b"abc"), (file, b"d")])) == (4, 0)
            assert drained() == [b"abc"]
            for _ in range(times):
                assert await pen.write(Job(file, 0, [(file, b"e")])) == (1, 0)
        assert await pen.write(Job(file, 0, [(file, b"f")])) == (1, 0)
        assert path.read_bytes() == b"d" + b"e" * times + b"f"

    def test_an_interrupt_waits_for_the_end_and_leaves_a_pen_that_writes(
        self, pen, file, path, pipe, drained
    ):
        @trio.lowlevel.enable_ki_protection
        async def interrupt():
            await wait_all_tasks_blocked()
            signal.raise_signal(signal.SIGINT)

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(interrupt)
                await pen.write(Job(file, 0, [(pipe.writing, b"abc"), (file, b"d")]))

        with pytest.raises(BaseExceptionGroup) as raised:
            trio.run(main, strict_exception_groups=True)
        assert raised.group_contains(KeyboardInterrupt)
        # Not a byte is on its way any more.
        assert drained() == [b"abc"]
        assert path.read_bytes() == b"d"
        assert trio.run(pen.write, Job(file, 0, [(file, b"e")])) == (1, 0)

    def test_an_interrupt_at_the_very_end_does_not_come_between(self, pen, file, path, monkeypatch):
        read, interrupts = os.read, [1]

        def interrupted(descriptor, size):
            if interrupts:
                interrupts.pop()
                signal.raise_signal(signal.SIGINT)
            return read(descriptor, size)

        async def main():
            monkeypatch.setattr(os, "read", interrupted)
            written.append(await pen.write(Job(file, 0, [(file, b"abc")])))
            await trio.sleep_forever()

        written = []
        with pytest.raises(KeyboardInterrupt):
            trio.run(main)
        assert written == [(3, 0)]
        assert trio.run(pen.write, Job(file, 0, [(file, b"d")])) == (1, 0)
        assert path.read_bytes() == b"abcd"

    def test_a_task_that_is_thrown_away_waits_too(self, pen, file, path, pipe, drained):
        """What happens to all tasks if the event loop itself fails."""

        async def main():
            task = pen.write(Job(file, 0, [(pipe.writing, b"abc"), (file, b"d")]))
            # To where it waits, as the event loop does it, and no further.
            task.send(None)
            task.close()

        trio.run(main)
        assert drained() == [b"abc"]
        assert path.read_bytes() == b"d"
        assert trio.run(pen.write, Job(file, 0, [(file, b"e")])) == (1, 0)


class TestLife:
    def test_it_ends_with_its_thread_and_its_descriptors(self):
        if pens._pen is None:
            pytest.skip(NOT_BUILT)
        before = descriptors(), threading.enumerate()
        several = [make_pen() for _ in range(5)]
        assert [type(pen) for pen in several] == [Pen] * 5
        assert len(threading.enumerate()) == len(before[1]) + 5
        for pen in several:
            pen.close()
        assert (descriptors(), threading.enumerate()) == before

    async def test_once_it_has_ended_it_writes_no_more_and_ends_only_once(self, pen, file, path):
        assert await pen.write(Job(file, 0, [(file, b"a")])) == (1, 0)
        pen.close()
        # The next to open something gets the same numbers.
        others = os.pipe()
        pen.close()
        for descriptor in others:
            os.close(descriptor)
        with pytest.raises(ValueError, match="has ended"):
            await pen.write(Job(file, 0, [(file, b"never")]))
        assert path.read_bytes() == b"a"

    def test_there_is_none_where_it_was_not_built(self, monkeypatch):
        monkeypatch.setattr(pens, "_pen", None)
        assert make_pen() is None

    def test_nor_where_none_is_wanted(self):
        assert no_pen() is None

    @pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOSYS])
    @pytest.mark.parametrize("name", ["eventfd", "pipe"])
    def test_nor_where_the_system_has_no_descriptors(self, monkeypatch, number, name):
        def refuse(*args):
            raise OSError(number, os.strerror(number))

        if pens._pen is None:
            pytest.skip(NOT_BUILT)
        if name == "pipe":
            monkeypatch.delattr(os, "eventfd", raising=False)
        monkeypatch.setattr(os, name, refuse, raising=False)
        assert make_pen() is None

    def test_nor_where_it_has_no_threads(self, monkeypatch):
        def refuse(thread):
            raise RuntimeError("can't start new thread")

        if pens._pen is None:
            pytest.skip(NOT_BUILT)
        before = descriptors()
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert make_pen() is None
        assert descriptors() == before

    def test_a_lack_of_memory_leaves_no_descriptor(self, monkeypatch):
        class NoThread:
            def __init__(self, done):
                raise MemoryError

        if pens._pen is None:
            pytest.skip(NOT_BUILT)
        before = descriptors()
        monkeypatch.setattr(pens._pen, "Thread", NoThread)
        with pytest.raises(MemoryError):
            make_pen()
        assert descriptors() == before

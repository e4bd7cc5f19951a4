"""Files that are read again: what is in force afterwards, and what the log says of it."""

import logging

import pytest
import trio
import trio.testing

from hushar.app.reloading import Kept, Reloader
from hushar.errors import ConfigurationError, Problem


class Shelf:
    """A file, and what was made of it and put in force; "bad" cannot be used."""

    def __init__(self, path):
        self.path = path
        self.made, self.taken = [], []
        self.kept = Kept("the words", [str(path)], self._make, self.taken.append)

    def write(self, text):
        self.path.write_text(text)

    def _make(self):
        text = self.path.read_text() if self.path.exists() else "gone"
        self.made.append(text)
        if text in ("bad", "gone"):
            raise ConfigurationError([Problem("", "words", f"{text} cannot be used")])
        return text


@pytest.fixture
def shelf(tmp_path):
    made = Shelf(tmp_path / "words")
    made.write("first")
    return made


@pytest.fixture
def said(caplog):
    """What the log has been told, as it grows."""
    lines = []
    caplog.set_level(logging.INFO, "hushar")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("hushar").addHandler(handler)
    yield lines
    logging.getLogger("hushar").removeHandler(handler)


async def look(shelf, *, asked=False):
    await shelf.kept.look(asked=asked)


async def test_what_has_changed_is_put_in_force(shelf, said):
    await look(shelf)
    shelf.write("second")
    await look(shelf)
    assert shelf.taken == ["first", "second"]
    assert said == ["the words were read again"]


async def test_what_has_not_is_not_made_again(shelf, said):
    for _ in range(3):
        await look(shelf)
    assert shelf.made == ["first"]
    assert said == []


async def test_who_asks_gets_an_answer(shelf, said):
    await look(shelf, asked=True)
    await look(shelf, asked=True)
    assert shelf.taken == ["first"]
    assert said == ["the words were read again", "the words have not changed"]


@pytest.mark.parametrize("mistake", ["bad", None])
async def test_what_cannot_be_used_leaves_the_old_in_force_with_one_line(shelf, said, mistake):
    await look(shelf)
    shelf.write(mistake) if mistake else shelf.path.unlink()
    for _ in range(3):
        await look(shelf)
    assert shelf.taken == ["first"]
    assert said == [f"the words stay as they are: words: {mistake or 'gone'} cannot be used"]
    await look(shelf, asked=True)
    assert len(said) == 2


async def test_a_mistake_that_is_mended_is_a_new_one_if_it_comes_back(shelf, said):
    await look(shelf)
    shelf.write("bad")
    await look(shelf)
    shelf.write("first")
    await look(shelf)
    shelf.write("bad")
    await look(shelf)
    assert shelf.taken == ["first"]
    assert len(said) == 2


async def until(shelf, *taken):
    with trio.fail_after(10):
        while shelf.taken != list(taken):
            await trio.lowlevel.checkpoint()


class TestReloader:
    async def test_it_looks_every_so_many_seconds(self, shelf, nursery):
        await nursery.start(Reloader([shelf.kept], 0.001).run)
        await until(shelf, "first")
        shelf.write("second")
        await until(shelf, "first", "second")

    async def test_it_looks_when_it_is_told_to(self, shelf, nursery):
        reloader = Reloader([shelf.kept], 3600)
        await nursery.start(reloader.run)
        await trio.testing.wait_all_tasks_blocked()
        assert shelf.taken == []
        reloader.look()
        await until(shelf, "first")
        shelf.write("second")
        reloader.look()
        await until(shelf, "first", "second")

    async def test_one_that_fails_does_not_hide_the_next(self, tmp_path, nursery):
        shelves = [Shelf(tmp_path / name) for name in "ab"]
        shelves[0].write("bad")
        shelves[1].write("good")
        reloader = Reloader([each.kept for each in shelves], 3600)
        await nursery.start(reloader.run)
        reloader.look()
        await until(shelves[1], "good")
        assert shelves[0].taken == []

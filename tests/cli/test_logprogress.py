"""The bar of a long read."""

import pytest

from hushar.cli import logprogress
from hushar.cli.logprogress import ReadingProgress


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_read_that_is_soon_over_has_no_bar(clock, capsys):
    with ReadingProgress(10, shown=True, clock=clock) as progress:
        clock.now += 0.9
        progress.read(10)
        progress.tell("torn\x1b")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "torn\\x1b\n")


def test_a_long_read_has_a_bar_on_standard_error_and_sentences_beside_it(clock, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with ReadingProgress(4_000_000, shown=True, clock=clock) as progress:
        clock.now += 1
        progress.read(1_000_000)
        progress.tell("a file is [bold]torn[/bold]")
        clock.now += 1
        progress.expect(4_000_000)
        progress.read(1_000_000)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "a file is [bold]torn[/bold]" in captured.err
    assert "reading" in captured.err
    assert "2.0/8.0 MB" in captured.err


def test_the_bar_is_not_drawn_more_often_than_anyone_sees(clock, monkeypatch):
    drawn = []

    class Bar:
        def __init__(self):
            self.refresh = lambda: drawn.append(clock.now)

        def add_task(self, *_, **__):
            return 0

        def start(self):
            pass

        stop = update = lambda *_, **__: None

    monkeypatch.setattr(logprogress, "_bar", Bar)
    with ReadingProgress(0, shown=True, clock=clock) as progress:
        for _ in range(1000):
            clock.now += 0.01
            progress.read(1)
    assert 80 <= len(drawn) <= 91


def test_without_a_terminal_there_is_never_a_bar(clock, capsys):
    with ReadingProgress(10, shown=False, clock=clock) as progress:
        clock.now += 100
        progress.read(10)
    assert capsys.readouterr().err == ""

"""Running what `hushar bench` is asked for: progress, Ctrl-C, reports, exit status."""

import platform
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import trio

from hushar import __version__
from hushar.bench.options import Load, Setup
from hushar.bench.report_html import as_html
from hushar.bench.report_json import as_json
from hushar.bench.report_table import as_text
from hushar.bench.runs import Context
from hushar.bench.sweeping import Outcome, run_once, sweep
from hushar.rpc.client_errors import ConnectionLostError
from hushar.scheduling import ask_for_short_slices
from hushar.texts import printable

if TYPE_CHECKING:
    from rich.progress import Progress

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""
_STEPS: Final = 1000


class Teller:
    """What is said beside the reports, and where."""

    def __init__(self, *, table_to_stderr: bool) -> None:
        """`table_to_stderr`: standard output is JSON's."""
        self._table_to_stderr = table_to_stderr

    def sentence(self, text: str) -> None:
        """Something that the user should know at once."""
        click.echo(printable(text), err=True)

    def table(self, text: str) -> None:
        """The figures."""
        click.echo(text, nl=False, err=self._table_to_stderr)


def run(setup: Setup, load: Load | float, outputs: Sequence[str], tell: Teller) -> int:
    """Measure and report; a number for `load` is the first rate of a sweep. Returns the exit status."""
    ask_for_short_slices()
    try:
        with _bar() as bar:
            outcome = trio.run(_measure, setup, load, bar, tell)
    except ConnectionLostError as error:
        tell.sentence(f"UNAVAILABLE: {error.status.status_message}")
        return 1
    if outcome is None:
        return INTERRUPTED
    tell.table(as_text(outcome))
    status = 0
    for output in outputs:
        if not _write(output, outcome, tell):
            status = 1
    if outcome.interrupted:
        return INTERRUPTED
    if not outcome.connected:
        tell.sentence("UNAVAILABLE: there was no server any more at the end")
        return 1
    return status if outcome.held else 1


async def _measure(setup: Setup, load: Load | float, bar: "Progress | None", tell: Teller) -> Outcome | None:
    """None: interrupted twice."""
    context = Context(tell=tell.sentence)
    if bar is not None:
        shown = bar.add_task("", total=_STEPS)

        def progress(text: str, share: float) -> None:
            bar.update(shown, description=text, completed=int(share * _STEPS))
            bar.refresh()

        context.progress = progress
    outcome: Outcome | None = None
    failure: ConnectionLostError | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(_heed_interrupts, context.stop, nursery.cancel_scope)
        try:
            if isinstance(load, Load):
                outcome = await run_once(setup, load, context)
            else:
                outcome = await sweep(setup, load, context)
        except ConnectionLostError as error:
            # Raised behind the nursery, which would put it into a group.
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return outcome


async def _heed_interrupts(
    stop: trio.Event, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]
) -> None:
    """The first Ctrl-C ends the run with what was measured, the second one at once."""
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                scope.cancel()
            stop.set()


def _bar() -> "AbstractContextManager[Progress | None]":
    """A progress bar, where standard error is a terminal. It is drawn twice a second, by the event loop."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns: tuple[Any, ...] = (TextColumn("{task.description}", markup=False), BarColumn())
    return Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)


def _write(output: str, outcome: Outcome, tell: Teller) -> bool:
    if output == "-":
        click.echo(as_json(outcome), nl=False)
        return True
    html = output.lower().endswith(".html")
    text = (
        as_html(outcome, f"hushar bench: {outcome.setup.target}", _facts(outcome))
        if html
        else as_json(outcome)
    )
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        tell.sentence(f"--output: {output!r} cannot be written: {error.strerror}")
        return False
    return True


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    """For the head of the HTML report."""
    setup = outcome.setup
    return [
        ("server", str(setup.target)),
        ("at", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())),
        ("requests", f"{setup.source}; {len(setup.calls)} different ones of {setup.rows} rows each"),
        ("connections", str(setup.connections)),
        ("warm-up", f"{setup.warmup_seconds:g} s"),
        ("generator", f"hushar {__version__} on {platform.node() or 'this machine'}, {platform.system()}"),
    ]

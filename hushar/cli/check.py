"""`hushar check`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import trio

from hushar.app.banner import warnings_of
from hushar.app.preparing import Prepared, Source, prepare
from hushar.cli.configured import with_configuration
from hushar.texts import printable, visible

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN_DEFAULTS = 4
_UNLIMITED = 100_000
"""Columns of a terminal that is none: what searches the output finds every row in one line."""


@click.command("check")
@with_configuration
def command(source: Source) -> None:
    """Do all that `serve` does before its first request, and print what would be served.

    Every problem is printed, not only the first; exit status 2 if there are any.
    """
    show(trio.run(prepare, source))


def show(prepared: Prepared) -> None:
    """Print the tables of features and of the model."""
    from rich.console import Console  # noqa: PLC0415 - slow to import

    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:
        console.width = _UNLIMITED
    # rich itself would end the process if what reads the output has gone.
    with console.capture() as shown:
        console.print(_features(prepared))
        for line in _facts(prepared):
            console.print(line, markup=False)
    click.echo(shown.get(), nl=False)


def _features(prepared: Prepared) -> "Table":
    from rich import box  # noqa: PLC0415 - slow to import
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("feature", "transformation", "columns", "default"):
        table.add_column(heading, overflow="fold")
    for feature in prepared.plan.features:
        default = [f"{value:g}" for value in feature.default[:_SHOWN_DEFAULTS]]
        more = ", …" if len(feature.default) > _SHOWN_DEFAULTS else ""
        cells = (visible(feature.name), visible(feature.type), feature.columns, ", ".join(default) + more)
        table.add_row(*map(escape, cells))
    return table


def _facts(prepared: Prepared) -> Iterator[str]:
    """Lines; names come from the model's file, and from plugins."""
    runtime = prepared.served.runtime
    yield visible(f"model: {prepared.served.model_id}, version {prepared.served.version}")
    yield visible(f"runtime: {runtime.name} {runtime.version}")
    for name, value in runtime.details.items():
        yield visible(f"{name}: {value}")
    for tensor in runtime.inputs:
        yield visible(f"input: {tensor}")
    for tensor in runtime.outputs:
        scores = " (scores)" if tensor == runtime.output else ""
        yield visible(f"output: {tensor}{scores}")
    for warning in warnings_of(prepared):
        yield printable(f"warning: {warning}")
    yield "ok"

"""`hushar check`."""

import click
import trio

from hushar.app.preparing import Prepared, Source, prepare
from hushar.cli.configured import with_configuration

_SHOWN_DEFAULTS = 4


@click.command("check")
@with_configuration
def command(source: Source) -> None:
    """Do all that `serve` does before its first request, and print what would be served.

    Every problem is printed, not only the first; exit status 2 if there are any.
    """
    show(trio.run(prepare, source))


def show(prepared: Prepared) -> None:
    """Print the tables of features and of the model."""
    from rich import box  # noqa: PLC0415 - slow to import
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(soft_wrap=True, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("feature", "transformation", "columns", "default"):
        table.add_column(heading, overflow="fold")
    for feature in prepared.plan.features:
        default = [f"{value:g}" for value in feature.default[:_SHOWN_DEFAULTS]]
        more = ", …" if len(feature.default) > _SHOWN_DEFAULTS else ""
        table.add_row(escape(feature.name), feature.type, escape(feature.columns), ", ".join(default) + more)
    console.print(table)
    runtime = prepared.served.runtime
    console.print(f"model: {prepared.served.model_id}, version {prepared.served.version}", markup=False)
    console.print(f"runtime: {runtime.name} {runtime.version}", markup=False)
    for name, value in runtime.details.items():
        console.print(f"{name}: {value}", markup=False)
    for tensor in runtime.inputs:
        console.print(f"input: {tensor}", markup=False)
    for tensor in runtime.outputs:
        scores = " (scores)" if tensor == runtime.output else ""
        console.print(f"output: {tensor}{scores}", markup=False)
    for warning in prepared.loaded.warnings:
        console.print(f"warning: {warning}", markup=False)
    console.print("ok", markup=False)

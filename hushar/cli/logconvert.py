"""`hushar logs convert`: logged rows as a table, one column for each feature."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from hushar.cli.logcat import Selection
from hushar.cli.logcolumns import RowColumns
from hushar.cli.logprogress import ReadingProgress
from hushar.cli.logsources import Chosen, with_sources
from hushar.cli.logtables import Draft, MakeTable, Table, table_kind
from hushar.errors import StorageError
from hushar.features.plan import Plan
from hushar.logreading.source import LogFile, TornLog, read_batches
from hushar.proto.structs_pb2 import InferenceLogBatch

_CHUNK_CELLS: Final = 500_000
"""Values that are held as Python objects."""


@click.command("convert")
@with_sources
@click.option("--output", required=True, metavar="FILE.parquet|FILE.csv", help="The file that is written.")
@click.option("--config", required=True, metavar="CONFIG", help="Vectorization or service configuration.")
@click.option("--all-features", is_flag=True, help="Those outside of the configuration too, as JSON.")
@click.option("--model-id", metavar="ID", help="Only what this model scored.")
@click.pass_context
def command(
    ctx: click.Context, *, chosen: Chosen, output: str, config: str, all_features: bool, model_id: str | None
) -> None:
    """Write inference logs as a table.

    One line a logged row, one column a feature of CONFIG.

    SOURCE and TIME are as for `logs cat`. Parquet needs the extra hushar[parquet]. FILE is replaced once the
    table is whole. A torn file is converted up to the tear, which is told on stderr.
    """
    path = Path(output)
    make = table_kind(path)
    plan = _plan(config)
    with _unwinding(), chosen.opened() as logs:
        conversion = _Conversion(logs.files, Selection(chosen.window, model_id), logs.progress)
        try:
            rows = conversion.run(plan, path, make, all_features=all_features)
        except StorageError as error:
            logs.progress.tell(f"{error}; nothing is written")
            ctx.exit(1)
        except OSError as error:
            logs.progress.tell(f"--output: {output!r} cannot be written: {error.strerror or error}")
            ctx.exit(1)
    click.echo(f"{rows} rows")


@contextmanager
def _unwinding() -> Iterator[None]:
    """SIGTERM ends the command as ^C does: no half table stays behind."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _plan(config: str) -> Plan:
    from hushar import builtin  # noqa: PLC0415 - it loads what a server needs
    from hushar.bench.sources import plan_of  # noqa: PLC0415
    from hushar.plugins.manager import load_registry  # noqa: PLC0415

    return plan_of(config, load_registry(builtin).transformation_classes)


@dataclass(slots=True)
class _Conversion:
    """The files, as often as they have to be read."""

    files: Sequence[LogFile]
    selection: Selection
    progress: ReadingProgress
    _told: set[str] = field(default_factory=set)

    def run(self, plan: Plan, output: Path, make: MakeTable, *, all_features: bool) -> int:
        """Write the table; how many rows it has. Raises StorageError, and OSError of the output.

        A feature that takes numbers and strings (`identity`) has a column of numbers until a string comes:
        then the rest is only looked through for further ones, and the table is written anew.
        """
        texts: set[str] = set()
        while True:
            columns = RowColumns(plan, texts, all_features)
            with Draft(output) as draft:
                rows = self._write(columns, make(draft.path, columns.columns))
                if not columns.found_texts:
                    draft.finish()
                    break
            texts |= columns.found_texts
            self.progress.expect(sum(file.size_bytes for file in self.files))
        for name, count in columns.misfits.items():
            what = "1 value is" if count == 1 else f"{count} values are"
            self._tell(
                f"feature {name!r}: {what} null: of a kind or a length that the configuration does not take"
            )
        return rows

    def _write(self, columns: RowColumns, table: Table) -> int:
        rows = 0
        with closing(table):
            for batch in self._batches():
                for row in batch.inference_log_rows:
                    columns.add(batch, row)
                    rows += 1
                    if columns.cells >= _CHUNK_CELLS:
                        self._flush(columns, table)
            self._flush(columns, table)
        return rows

    def _flush(self, columns: RowColumns, table: Table) -> None:
        chunk = columns.chunk()
        if not columns.found_texts:
            table.write(chunk)

    def _batches(self) -> Iterator[InferenceLogBatch]:
        for file in self.files:
            try:
                with closing(read_batches(file, self.progress.read)) as batches:
                    yield from (batch for batch in batches if batch in self.selection)
            except TornLog as torn:
                self._tell(str(torn))

    def _tell(self, text: str) -> None:
        """Once, however often the files are read."""
        if text not in self._told:
            self._told.add(text)
            self.progress.tell(text)

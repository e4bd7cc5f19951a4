"""The files that `hushar logs convert` writes: CSV, and Parquet by pyarrow; whole or not at all."""

import csv
import importlib
import json
import math
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from hushar.cli.logcolumns import Chunk, Column, Type, rows_of
from hushar.errors import ConfigurationError, Problem

_OPTION: Final = "--output"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CRLF: Final = "\r\n"
_GROUP_BYTES: Final = 64 << 20
"""Of a row group in Parquet, before it is encoded and compressed."""


class Table(ABC):
    """A file that grows by chunks."""

    @abstractmethod
    def write(self, chunk: Chunk) -> None:
        """Some more rows. Raises OSError."""

    @abstractmethod
    def close(self) -> None:
        """What is left, and the end. Raises OSError."""


class _Lines:
    """Takes lines of a csv.writer, and ends them with a newline.

    The writer quotes what its lines end with, and needs to be told of both characters: readers end a line
    at a lone carriage return too.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> None:
        """One line, with its end."""
        self._file.write(line.removesuffix(_CRLF) + "\n")


class CsvTable(Table):
    """UTF-8, a line of names first; null is an empty cell, a list JSON."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(_Lines(self._file), lineterminator=_CRLF)
        self._forms = [_csv_form(column) for column in columns]
        self._writer.writerow(column.name for column in columns)

    def write(self, chunk: Chunk) -> None:
        """As for Table."""
        self._writer.writerows(
            [None if value is None else form(value) for form, value in zip(self._forms, row, strict=True)]
            for row in rows_of(chunk)
        )

    def close(self) -> None:
        """As for Table."""
        self._file.close()


def _csv_form(column: Column) -> Callable[[Any], Any]:
    """From a value of the column to its cell."""
    if column.is_list and column.type is Type.STRING:
        return lambda values: json.dumps(values, ensure_ascii=False)
    if column.is_list:
        narrow = column.type is Type.FLOAT32
        return lambda values: json.dumps([_json_number(value, narrow=narrow) for value in values])
    return _csv_time if column.type is Type.TIMESTAMP else lambda value: value


def _json_number(value: float, *, narrow: bool) -> float | str:
    """As protobuf's JSON has it: the shortest that is the same float32 (`narrow`) or float64; the three that
    JSON has no number for as strings."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return float(str(np.float32(value))) if narrow else value


def _csv_time(unix_micros: int) -> str:
    try:
        moment = _EPOCH + timedelta(microseconds=unix_micros)
    except OverflowError:
        return str(unix_micros)  # no calendar has this
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


class ParquetTable(Table):
    """One row group for every 64 MiB of values."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self._arrow, parquet = pyarrow_modules()
        self._schema = self._arrow.schema([(column.name, self._type(column)) for column in columns])
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._pending: list[Any] = []
        self._pending_bytes = 0

    def write(self, chunk: Chunk) -> None:
        """As for Table."""
        arrays = [
            self._arrow.array(values, type=kind)
            for values, kind in zip(chunk.values, self._schema.types, strict=True)
        ]
        batch = self._arrow.record_batch(arrays, schema=self._schema)
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """As for Table."""
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        if self._pending:
            table = self._arrow.Table.from_batches(self._pending, self._schema)
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._pending = []
        self._pending_bytes = 0

    def _type(self, column: Column) -> Any:
        arrow = self._arrow
        kind = {
            Type.STRING: arrow.string(),
            Type.FLOAT64: arrow.float64(),
            Type.FLOAT32: arrow.float32(),
            Type.TIMESTAMP: arrow.timestamp("us", tz="UTC"),
        }[column.type]
        return arrow.list_(kind) if column.is_list else kind


def pyarrow_modules() -> tuple[Any, Any]:
    """Pyarrow and its Parquet. Raises ConfigurationError if it is not installed."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        text = f'Parquet needs pyarrow: pip install "hushar[parquet]" ({error})'
        raise ConfigurationError([Problem("", _OPTION, text)]) from error


MakeTable = Callable[[Path, Sequence[Column]], Table]

TABLES: Final[dict[str, MakeTable]] = {
    ".parquet": ParquetTable,
    ".csv": CsvTable,
}


def table_kind(output: Path) -> MakeTable:
    """What writes the file of this name. Raises ConfigurationError if it could not be written."""
    kind = TABLES.get(output.suffix.lower())
    if kind is None:
        raise _mistake(f"{str(output)!r}: expected a name in .parquet or .csv")
    if kind is ParquetTable:
        pyarrow_modules()
    if output.is_dir():
        raise _mistake(f"{str(output)!r} is a directory")
    try:
        _beside(output).unlink()
    except (OSError, ValueError) as error:
        raise _mistake(f"{str(output)!r} cannot be written: {_reason(error)}") from error
    return kind


class Draft:
    """A new file that takes the place of `output` once it is finished; until then, and without, it is hidden
    beside it. A context manager, at whose end a draft that was not finished is gone.
    """

    def __init__(self, output: Path) -> None:
        """Raises OSError."""
        self.path = _beside(output)
        self._output = output

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Every byte is on the disk, and then the name. Raises OSError."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.path.replace(self._output)


def _beside(output: Path) -> Path:
    """An empty, hidden file in the folder of `output`, which may be read by whom new files may be."""
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=output.parent)
    mask = os.umask(0)
    os.umask(mask)
    os.fchmod(descriptor, 0o666 & ~mask)
    os.close(descriptor)
    return Path(name)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _mistake(text: str) -> ConfigurationError:
    return ConfigurationError([Problem("", _OPTION, text)])

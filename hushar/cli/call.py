"""`hushar call`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hushar.cli.connecting import bytes_of, mistake, token_in
from hushar.cli.connecting import tls as tls_of

# What is heavy is imported in functions, to keep `hushar --help` fast.
if TYPE_CHECKING:
    from hushar.client import Client
    from hushar.proto.structs_pb2 import InferenceRequest, InferenceResponse, InputRow, OutputRow


@click.command("call")
@click.argument("address")
@click.option(
    "--row", "texts", multiple=True, metavar="'NAME=VALUE …'", help="One row: its features; repeatable."
)
@click.option("--json", "json_file", metavar="FILE", help="Rows as JSON, a list or one a line; - for stdin.")
@click.option("--config", metavar="FILE", help="Configuration that tells the kinds of the features.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--request-id", default="", metavar="ID", help="For the server's log.")
@click.option("--timeout-seconds", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS")
@click.option("--token-file", metavar="FILE", help="Bearer token for the server, in a file of its own.")
@click.option("--tls", is_flag=True, help="Use TLS, with the system's authorities.")
@click.option("--ca", "ca_file", metavar="FILE", help="Use TLS, with the authorities in this PEM file.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    address: str,
    texts: tuple[str, ...],
    json_file: str | None,
    config: str | None,
    output: str,
    request_id: str,
    timeout_seconds: float | None,
    token_file: str | None,
    tls: bool,
    ca_file: str | None,
) -> None:
    """Score rows at the server ADDRESS (HOST:PORT), and print the scores.

    Each --row is one row: --row 'age=41.5 city=Pune'. A value's kind is taken from --config, else from what
    it looks like: 41.5 is a float_value, 41 an integer_value, Pune a string_value. It can be named:
    age:double=41.5. Lists are JSON, xs=[1,2]; what is in quotes is a string, zip="01234".

    Exit status: 0 scored, 1 the call failed (CODE: message on stderr), 2 a mistake in what was given.
    """
    import trio  # noqa: PLC0415

    from hushar.client import CallFailed, Client  # noqa: PLC0415
    from hushar.proto.structs_pb2 import InferenceRequest  # noqa: PLC0415

    if not texts and json_file is None:
        raise click.UsageError("give rows: --row or --json")
    ssl_context = tls_of(ca_file) if tls or ca_file is not None else None
    token = None if token_file is None else token_in(token_file)
    try:
        client = Client.connect(
            address, ssl_context=ssl_context, timeout_seconds=timeout_seconds, token=token
        )
    except ValueError as error:
        raise mistake("", str(error)) from error
    request = InferenceRequest(request_id=request_id, inputs=_rows(texts, json_file, config))
    try:
        response = trio.run(_infer, client, request)
    except CallFailed as error:
        click.echo(str(error), err=True)
        ctx.exit(1)
    click.echo(as_json(response) if output == "json" else as_table(response.outputs), nl=False)


def _rows(texts: Sequence[str], json_file: str | None, config: str | None) -> "list[InputRow]":
    """The rows of `--row`, then those of `--json`."""
    from hushar.client.jsonrows import rows_from_json  # noqa: PLC0415
    from hushar.client.kindsfile import kinds_from_file  # noqa: PLC0415
    from hushar.client.textrows import rows_from_texts  # noqa: PLC0415

    kinds: Mapping[str, str] = {} if config is None else kinds_from_file(Path(config))
    rows = rows_from_texts(texts, source="--row", kinds=kinds)
    if json_file is not None:
        source = "standard input" if json_file == "-" else json_file
        rows += rows_from_json(bytes_of(json_file), source=source, kinds=kinds)
    return rows


async def _infer(client: "Client", request: "InferenceRequest") -> "InferenceResponse":
    async with client:
        return await client.infer(request)


def as_json(response: "InferenceResponse") -> str:
    """The answer by protobuf's JSON mapping with the names of the proto file: scores in full."""
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415

    document: dict[str, Any] = MessageToDict(
        response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(document, indent=2) + "\n"


def as_table(outputs: "Sequence[OutputRow]") -> str:
    """One line a row: its id (its index where it has none), and its scores with five decimals."""
    width = max((len(output.scores) for output in outputs), default=0)
    heads = ["score"] if width == 1 else [f"score {index}" for index in range(width)]
    lines = [["row", *heads]]
    for index, output in enumerate(outputs):
        scores = [f"{score:.5f}" for score in output.scores]
        lines.append([_printable(output.row_id) or f"#{index}", *scores, *[""] * (width - len(scores))])
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "".join(_line(line, widths) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    scores = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join((cells[0].ljust(widths[0]), *scores)).rstrip() + "\n"


def _printable(row_id: str) -> str:
    """A row id must not steer the terminal."""
    return row_id if row_id.isprintable() else json.dumps(row_id)

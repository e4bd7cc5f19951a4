"""`hushar bench`: the command line of hushar.bench."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hushar.cli.connecting import bytes_of, mistake, tls, token_in

# What is heavy is imported in functions, to keep `hushar --help` fast.
if TYPE_CHECKING:
    from hushar.bench.options import Load, Setup
    from hushar.client import Address

_PATH: Final = "/hushar.Hushar/InferenceService"
_SUFFIXES: Final = (".json", ".html")
_MOST_RATE: Final = 1e9
"""Calls a second: more than any machine offers, and few enough to be counted exactly."""
_MOST_CONCURRENCY: Final = 1_000_000
_MOST_SECONDS: Final = 1e8
"""Three years."""


class _Number(click.FloatRange):
    """A finite number in a range; click lets `nan` through, and infinities where there is no end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


_COUNT: Final = click.IntRange(min=1)
_PLACES: Final = click.IntRange(1, _MOST_CONCURRENCY)
_POSITIVE: Final = _Number(min=0, min_open=True)
_RATE: Final = _Number(min=0, max=_MOST_RATE, min_open=True)
_DURATION: Final = _Number(min=0, max=_MOST_SECONDS, min_open=True)
_FROM_ZERO: Final = _Number(min=0)


@click.command("bench")
@click.argument("address")
@click.argument("more", metavar="", nargs=-1)
@click.option("--config", metavar="CONFIG", help="Plausible random rows for this configuration.")
@click.option("--json", "json_file", metavar="FILE", help="Rows as JSON, a list or one a line; - for stdin.")
@click.option("--log", "logs", multiple=True, metavar="SOURCE...", help="Logged rows, without their scores.")
@click.option("--rate", type=_RATE, metavar="R", help="Open loop: calls a second. Of a sweep: the first.")
@click.option("--concurrency", type=_PLACES, metavar="N", help="Closed loop: calls at a time.")
@click.option("--sweep", is_flag=True, help="Open loop at rising rates, until p99, rate or generator break.")
@click.option("--seconds", type=_DURATION, default=10, show_default=True, help="That are measured.")
@click.option(
    "--warmup-seconds", type=_Number(0, _MOST_SECONDS), default=1, show_default=True, help="Before."
)
@click.option("--connections", type=click.IntRange(1, 10_000), default=4, show_default=True)
@click.option("--rows", type=_COUNT, default=1, show_default=True, help="A call.")
@click.option("--timeout-seconds", type=_POSITIVE, metavar="SECONDS", help="For one call.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of random rows: the same every time.")
@click.option("--admin", metavar="HOST:PORT", help="Server-side stages, from its /metrics.")
@click.option("--max-p50-seconds", type=_FROM_ZERO, metavar="SECONDS", help="Bound: of the median.")
@click.option("--max-p99-seconds", type=_FROM_ZERO, metavar="SECONDS", help="Bound: of p99.")
@click.option("--max-error-rate", type=_Number(min=0, max=1), metavar="SHARE", help="Bound: 0 to 1.")
@click.option("--min-rate", type=_FROM_ZERO, metavar="R", help="Bound: calls a second with OK.")
@click.option("--output", "outputs", multiple=True, metavar="FILE.json|FILE.html|-", help="Repeatable.")
@click.option("--token-file", metavar="FILE", help="Bearer token for the server, in a file of its own.")
@click.option("--tls", "use_tls", is_flag=True, help="Use TLS, with the system's authorities.")
@click.option("--ca", "ca_file", metavar="FILE", help="Use TLS, with the authorities in this PEM file.")
@click.pass_context
def command(ctx: click.Context, /, *, sweep: bool, outputs: tuple[str, ...], **options: Any) -> None:
    """Offer load to the server ADDRESS (HOST:PORT), and measure how it answers.

    Rows come from --config (random ones that fit the configuration), --json or --log. The load is --rate,
    --concurrency or --sweep. Latency is counted from the moment for which a call was meant: in an open loop a
    call that has to wait for a free stream waits on that account.

    Exit status: 0 all bounds held (of a sweep: some rate), 1 a bound missed or no server, 2 a mistake in what
    was given. Ctrl-C ends the run early, with the figures until then and status 130; again: at once.
    """
    load = _load(sweep=sweep, rate=options["rate"], concurrency=options["concurrency"])
    if sweep and options["max_p99_seconds"] is None:
        raise click.UsageError("--sweep needs --max-p99-seconds")
    for output in outputs:
        _check_output(output)
    from hushar.cli import benching  # noqa: PLC0415

    tell = benching.Teller(table_to_stderr="-" in outputs)
    setup = _setup(options, tell)
    status = benching.run(setup, load, outputs, tell)
    ctx.exit(status)


def _load(*, sweep: bool, rate: float | None, concurrency: int | None) -> "Load | float":
    """The load of one run; of a sweep its first rate."""
    from hushar.bench.options import FIRST_RATE, Load  # noqa: PLC0415

    if sweep and concurrency is not None:
        raise click.UsageError("--sweep has a rate, not a --concurrency")
    if sweep:
        return FIRST_RATE if rate is None else rate
    if (rate is None) == (concurrency is None):
        raise click.UsageError("give one of --rate, --concurrency and --sweep")
    return Load(rate=rate, concurrency=concurrency)


def _check_output(output: str) -> None:
    """Whether a report can be written there, before anything is measured for it."""
    if output == "-":
        return
    path = Path(output)
    if path.suffix.lower() not in _SUFFIXES:
        raise mistake("--output", f"{output!r}: expected a name in .json or .html, or -")
    if path.is_dir():
        raise mistake("--output", f"{output!r} is a directory")
    try:
        existed = path.exists()
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except (OSError, ValueError) as error:
        raise mistake("--output", f"{output!r} cannot be written: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _setup(options: dict[str, Any], tell: Any) -> "Setup":
    from hushar import __version__  # noqa: PLC0415
    from hushar.bench.options import Bounds, Setup  # noqa: PLC0415
    from hushar.rpc.client_bursts import prepare  # noqa: PLC0415
    from hushar.rpc.dialing import Target  # noqa: PLC0415
    from hushar.rpc.request_block import request_block, timeout_field  # noqa: PLC0415
    from hushar.rpc.status import encode_metadata, format_timeout  # noqa: PLC0415

    address = _address("ADDRESS", options["address"])
    ca_file, token_file = options["ca_file"], options["token_file"]
    context = tls(ca_file) if options["use_tls"] or ca_file is not None else None
    fields = [] if token_file is None else [("authorization", f"Bearer {token_in(token_file)}")]
    target = Target(address.host, address.port, context)
    block = request_block(
        target.scheme, target.authority, _PATH, encode_metadata(fields), f"hushar-bench/{__version__}"
    )
    timeout = options["timeout_seconds"]
    if timeout is not None:
        block += timeout_field(format_timeout(timeout))
    messages, source = _messages(options, tell)
    names = ("max_p50_seconds", "max_p99_seconds", "max_error_rate", "min_rate")
    return Setup(
        target=target,
        calls=[prepare(block, message) for message in messages],
        rows=options["rows"],
        source=source,
        seconds=options["seconds"],
        warmup_seconds=options["warmup_seconds"],
        connections=options["connections"],
        timeout_seconds=timeout,
        admin=None if options["admin"] is None else _address("--admin", options["admin"]),
        bounds=Bounds(**{name: options[name] for name in names}),
    )


def _messages(options: dict[str, Any], tell: Any) -> tuple[list[bytes], str]:
    """The requests, and where their rows come from."""
    from hushar.bench import sources  # noqa: PLC0415
    from hushar.client import kinds_from_file  # noqa: PLC0415

    config, json_file, rows = options["config"], options["json_file"], options["rows"]
    logs = (*options["logs"], *options["more"]) if options["logs"] else ()
    if options["more"] and not logs:
        raise click.UsageError(f"unexpected argument {options['more'][0]!r}")
    if (json_file is not None) + bool(logs) > 1 or (logs and config is not None):
        raise click.UsageError(
            "give one of --config, --json and --log (--json may have a --config beside it)"
        )
    if json_file is not None:
        kinds = {} if config is None else kinds_from_file(Path(config))
        name = "standard input" if json_file == "-" else json_file
        return sources.json_requests(name, bytes_of(json_file), kinds, rows), name
    if logs:
        from hushar.cli.logstores import PluginStores  # noqa: PLC0415

        with PluginStores() as stores:
            return sources.log_requests(logs, rows, tell.sentence, stores), f"logs {' '.join(logs)}"
    if config is None:
        raise click.UsageError("give rows: --config, --json or --log")
    from hushar import builtin  # noqa: PLC0415
    from hushar.plugins.manager import load_registry  # noqa: PLC0415

    plan = sources.plan_of(config, load_registry(builtin).transformation_classes)
    return sources.random_requests(plan, rows, options["seed"]), f"random rows for {config}"


def _address(option: str, text: str) -> "Address":
    from hushar.client import parse_address  # noqa: PLC0415

    try:
        return parse_address(text)
    except ValueError as error:
        raise mistake(option, str(error)) from None

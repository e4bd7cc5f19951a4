"""`hushar logs deliver`."""

import sys

import click
import trio

from hushar.app.delivering import deliver
from hushar.app.messages import configure_messages
from hushar.app.preparing import Source, prepare_log
from hushar.cli.configured import with_configuration
from hushar.sidecars.offline import Amount, Pass


@click.command("deliver")
@with_configuration
def command(source: Source) -> int:
    """Deliver what a server has left in its spool, and try again what lies in `dead-letter` there.

    Takes the configuration and the options of `serve`, so that it finds the same spool. While a server holds
    the spool, nothing is done, and the exit status is 2. The last line says how much is left: nothing with
    exit status 0, else 1.
    """
    return trio.run(_deliver, source)


async def _deliver(source: Source) -> int:
    prepared = await prepare_log(source)
    configuration = prepared.configuration
    configure_messages(configuration.log_format, configuration.log_level, sys.stderr)
    directory, done = await deliver(prepared)
    for line in lines(done, str(directory), prepared.log_sink.description):
        click.echo(line)
    return 1 if done.left.segments else 0


def lines(done: Pass, spool: str, sink: str) -> list[str]:
    """What came of it, for a person."""
    said = [f"{_amount(done.delivered)} delivered to {sink}"]
    if done.torn_records:
        said.append(f"{done.torn_records} records were torn")
    left = f"{_amount(done.left)} left in {spool}" if done.left.segments else f"nothing left in {spool}"
    return [*said, left]


def _amount(amount: Amount) -> str:
    return f"{amount.segments} segments ({amount.records} records, {amount.size_bytes} bytes)"

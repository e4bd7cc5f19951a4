"""`hushar serve`."""

import os
import signal
import sys

import click
import trio

from hushar.app.preparing import Source
from hushar.app.running import run
from hushar.app.signals import STOPPING
from hushar.cli.configured import with_configuration
from hushar.scheduling import ask_for_short_slices


@click.command("serve")
@with_configuration
def command(source: Source) -> int:
    """Serve the model of CONFIG (JSON or TOML; a path or a URI) until SIGTERM or SIGINT."""
    # Once the server runs it means "read certificates and tokens again"; it never ends it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ask_for_short_slices()
    if not trio.run(_serve, source):
        # The interpreter cannot be torn down under a library's thread that still computes.
        sys.stderr.flush()
        os._exit(0)
    return 0


async def _serve(source: Source) -> bool:
    over = await run(source, stream=sys.stderr)
    # All is flushed; a second signal must not turn this good end into another one.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    return over

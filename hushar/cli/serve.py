"""`hushar serve`."""

import sys

import click
import trio

from hushar.app.preparing import Source, prepare
from hushar.app.running import serve
from hushar.cli.configured import with_configuration


@click.command("serve")
@with_configuration
def command(source: Source) -> int:
    """Serve the model of CONFIG (JSON or TOML; a path or a URI) until SIGTERM or SIGINT."""
    return trio.run(_serve, source)


async def _serve(source: Source) -> int:
    prepared = await prepare(source)
    await serve(prepared, stream=sys.stderr)
    return 0

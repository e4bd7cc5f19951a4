"""The group of commands, how they are found, and what becomes of errors.

Commands are imported when they are asked for, so that `hushar version` does not pay for onnxruntime.
Exit status: 0 done, 2 the user's mistake, 1 anything else.
"""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import click

from hushar.errors import ConfigurationError, StorageError

COMMANDS: Final[Mapping[str, str]] = {
    "serve": "hushar.cli.serve",
    "check": "hushar.cli.check",
    "call": "hushar.cli.call",
    "bench": "hushar.cli.bench",
    "logs": "hushar.cli.logs",
    "schema": "hushar.cli.schema",
    "plugins": "hushar.cli.plugins",
    "version": "hushar.cli.version",
}


class _ReaderGone(Exception):
    """Standard output was closed at its other end. click would make exit status 1 of the OSError."""


class Root(click.Group):
    """Built-in commands by module; plugins are only loaded for a name that is none of these."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click's. Raises _ReaderGone: `--help` prints in here."""
        with _telling_reader_gone():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's. Raises _ReaderGone."""
        with _telling_reader_gone():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names: the built-in ones first."""
        return [*COMMANDS, *sorted(_plugin_commands().keys() - COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, imported now."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return _plugin_commands().get(cmd_name)
        command: click.Command = importlib.import_module(module).command
        return command


@contextmanager
def _telling_reader_gone() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGone from error


def _plugin_commands() -> Mapping[str, click.Command]:
    from hushar import builtin  # noqa: PLC0415 - slow to import, rarely needed
    from hushar.plugins.manager import load_registry  # noqa: PLC0415

    try:
        return load_registry(builtin).commands
    except ConfigurationError as error:
        click.echo(str(error), err=True)
        return {}


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def root() -> None:
    """hushar: a gRPC model-inference server. Named features in, scores out."""


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        result = root(prog_name="hushar", standalone_mode=False)
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (ConfigurationError, StorageError) as error:
        click.echo(str(error), err=True)
        return 2
    except _ReaderGone:
        # `hushar logs cat … | head`: what reads has what it wanted. Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0

"""`hushar logs`: what can be done with inference logs."""

import importlib
from collections.abc import Mapping
from typing import Final

import click

COMMANDS: Final[Mapping[str, str]] = {
    "cat": "hushar.cli.logcat",
    "verify": "hushar.cli.logverify",
    "convert": "hushar.cli.logconvert",
    "deliver": "hushar.cli.logdeliver",
}
"""Name → the module whose `command` it is; imported when it is asked for, as the commands above it."""


class _Logs(click.Group):
    """The commands by module."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name, imported now."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command


@click.group("logs", cls=_Logs)
def command() -> None:
    """Read inference logs, check that they are complete, convert them, deliver what is left of them."""

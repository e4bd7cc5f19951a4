"""`hushar plugins`."""

import click


@click.command("plugins")
def command() -> None:
    """List what is installed, from which distribution, and what it adds."""
    from hushar import builtin  # noqa: PLC0415 - keeps `hushar --help` fast
    from hushar.plugins.manager import load_registry  # noqa: PLC0415

    for plugin in load_registry(builtin).plugins:
        click.echo(f"{plugin.name} ({plugin.distribution} {plugin.version})")
        for hook, names in plugin.adds.items():
            if names:
                click.echo(f"  {hook.replace('_', ' ')}: {', '.join(names)}")

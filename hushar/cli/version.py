"""`hushar version`."""

import importlib.metadata
import platform

import click

import hushar


@click.command("version")
def command() -> None:
    """Print the versions of hushar and of what it stands on."""
    click.echo(f"hushar {hushar.__version__}")
    click.echo("kernel: reference")
    click.echo(f"python {platform.python_version()} ({platform.system()} {platform.machine()})")
    for name in ("onnxruntime", "numpy", "purerpc", "trio", "protobuf"):
        click.echo(f"{name} {importlib.metadata.version(name)}")

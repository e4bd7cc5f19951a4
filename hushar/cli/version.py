"""`hushar version`."""

import importlib.metadata
import os
import platform

import click

import hushar
from hushar.features.vectorize import kernel_name


@click.command("version")
def command() -> None:
    """Print the versions of hushar and of what it stands on.

    The kernel is the one that serves, unless a configuration or a command line says otherwise.
    """
    click.echo(f"hushar {hushar.__version__}")
    click.echo(f"kernel: {kernel_name(os.environ.get('HUSHAR_KERNEL', 'auto'))}")
    click.echo(f"python {platform.python_version()} ({platform.system()} {platform.machine()})")
    for name in ("onnxruntime", "numpy", "purerpc", "trio", "protobuf"):
        click.echo(f"{name} {importlib.metadata.version(name)}")

"""`hushar version`."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Final

import click

import hushar
from hushar.config.from_environment import FILE, PREFIX
from hushar.config.loading import examine_service
from hushar.errors import ConfigurationError, Problem
from hushar.features.vectorize import kernel_name, kernel_problem

_VARIABLE: Final = f"{PREFIX}KERNEL"


@click.command("version")
def command() -> None:
    """Print the versions of hushar and of what it stands on.

    The kernel is the one that serves, unless a configuration or a command line says otherwise.
    """
    kernel = _kernel()
    click.echo(f"hushar {hushar.__version__}")
    click.echo(f"kernel: {kernel_name(kernel)}")
    click.echo(f"python {platform.python_version()} ({platform.system()} {platform.machine()})")
    for name in ("onnxruntime", "numpy", "purerpc", "trio", "protobuf"):
        click.echo(f"{name} {importlib.metadata.version(name)}")


def _kernel() -> str:
    """The environment's setting. Raises ConfigurationError where it cannot serve, in the words of `serve`."""
    kernel = os.environ.get(_VARIABLE)
    if kernel is None:
        return "auto"
    environ = {_VARIABLE: kernel}
    examined = examine_service(None, options={}, overrides=(), environ=environ, directory=str(Path.cwd()))
    # What a configuration without a file lacks is no matter here.
    problems = [problem for problem in examined.problems if problem.file == FILE]
    unfit = None if problems else kernel_problem(kernel)
    if unfit is not None:
        problems.append(Problem(FILE, _VARIABLE, unfit))
    if problems:
        raise ConfigurationError(problems)
    return kernel

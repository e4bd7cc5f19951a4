"""The argument and the options that `serve` and `check` share: where the configuration comes from."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hushar.app.preparing import Source

Command = TypeVar("Command", bound=Callable[..., Any])

# Each option, and the key that it sets (SETTINGS.md).
_OPTIONS = (
    ("--host", "host", "ADDRESS", "Address to bind (127.0.0.1)."),
    ("--port", "port_number", "PORT", "Port to bind (8279); 0 picks one and prints it."),
    ("--log-uri", "log.uri", "URI", "Where inferences are logged: a directory or a sink's URI."),
    ("--log-workers", "log.workers", "N", "Log workers (1)."),
    ("--spool-dir", "log.spool_dir", "PATH", "Where segments wait for delivery."),
    ("--metrics-workers", "metrics.workers", "N", "Metric workers (1)."),
    ("--admin-port", "admin.port", "PORT", "Port for metrics, health and status; 0 picks one and prints it."),
    ("--log-format", "log_format", "text|json", "Form of hushar's own messages on stderr."),
    ("--log-level", "log_level", "LEVEL", "debug, info, warning or error."),
)


def with_configuration(function: Command) -> Command:
    """Add CONFIG, --demo, --set and the options; the command gets them as one `source: Source`."""

    def run(
        config: str | None,
        demo: bool,
        overrides: tuple[str, ...],
        metrics_sink: tuple[str, ...],
        **options: Any,
    ) -> Any:
        if (config is None) != demo:
            raise click.UsageError("give either CONFIG or --demo")
        given = {
            key: options[_parameter(key)] for _, key, _, _ in _OPTIONS if options[_parameter(key)] is not None
        }
        if metrics_sink:
            given["metrics.sinks"] = list(metrics_sink)
        source = Source(
            uri=str(demo_directory() / "service.json") if config is None else config,
            options=given,
            overrides=overrides,
            environ=dict(os.environ),
            directory=str(Path.cwd()),
        )
        return function(source)

    run.__doc__ = function.__doc__
    decorated: Any = run
    for flag, key, metavar, text in reversed(_OPTIONS):
        decorated = click.option(flag, _parameter(key), metavar=metavar, help=text)(decorated)
    decorated = click.option(
        "--metrics-sink", multiple=True, metavar="NAME", help="Metric sink; repeatable, replaces the list."
    )(decorated)
    decorated = click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set any key: section.key=value."
    )(decorated)
    decorated = click.option("--demo", is_flag=True, help="Serve the demo model that comes with hushar.")(
        decorated
    )
    return click.argument("config", required=False)(decorated)  # type: ignore[no-any-return]


def demo_directory() -> Path:
    """Where the demo model and its configuration are installed."""
    return Path(__file__).resolve().parent.parent / "demo"


def _parameter(key: str) -> str:
    return key.replace(".", "_")

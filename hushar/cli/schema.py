"""`hushar schema service|vectorization`."""

import json

import click


@click.command("schema")
@click.argument("which", type=click.Choice(["service", "vectorization"]))
def command(which: str) -> None:
    """Print the JSON Schema of a configuration file, for editors.

    That of the vectorization includes the transformations of the installed plugins.
    """
    # Imported here to keep `hushar --help` fast.
    from hushar import builtin  # noqa: PLC0415
    from hushar.config.service import service_schema  # noqa: PLC0415
    from hushar.features.plan import vectorization_schema  # noqa: PLC0415
    from hushar.plugins.manager import load_registry  # noqa: PLC0415

    if which == "service":
        schema = service_schema()
    else:
        schema = vectorization_schema(load_registry(builtin).transformation_classes)
    click.echo(json.dumps(schema, indent=2))

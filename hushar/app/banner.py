"""What is said at start about what is served."""

import logging
from collections.abc import Mapping
from typing import Any, TextIO

import hushar
from hushar.app.preparing import Prepared
from hushar.texts import visible

log = logging.getLogger("hushar")


def facts(prepared: Prepared, address: str) -> Mapping[str, Any]:
    """What is served, as plain values in the order in which a person wants to read them."""
    configuration = prepared.configuration
    runtime = prepared.served.runtime
    columns = {feature.name: feature.columns for feature in prepared.plan.features}
    return {
        "hushar": hushar.__version__,
        "model_id": prepared.served.model_id,
        "model_version": prepared.served.version,
        "runtime": f"{runtime.name} {runtime.version}",
        "kernel": "reference",
        "inputs": [str(tensor) for tensor in runtime.inputs],
        "outputs": [
            f"{tensor} (scores)" if tensor == runtime.output else str(tensor) for tensor in runtime.outputs
        ],
        **runtime.details,
        "columns": columns,
        "log": prepared.log_sink.description if prepared.log_sink else "none",
        "metrics": [sink.description for sink in prepared.metric_sinks.values()] or "none",
        "limits": {
            "connection_concurrency": configuration.connection_concurrency,
            "batching.max_rows": configuration.batching.max_rows,
            "batching.max_call_rows": configuration.batching.max_call_rows,
        },
        "tls": "on" if prepared.ssl_context else "off",
        "address": address,
    }


def announce(prepared: Prepared, address: str, stream: TextIO) -> None:
    """Print the banner; the last thing said is the line `listening on HOST:PORT`."""
    said = facts(prepared, address)
    if prepared.configuration.log_format == "json":
        log.log(logging.CRITICAL, "listening on %s", address, extra={"fields": {"level": "info", **said}})
        return
    lines = [f"  {visible(key).replace('_', ' ')}: {_plain(value)}" for key, value in said.items()]
    print("\n".join([*lines, f"listening on {address}"]), file=stream, flush=True)


def _plain(value: Any) -> str:
    """On one line and printable: names come from the model's file, and from plugins."""
    if isinstance(value, Mapping):
        return ", ".join(f"{visible(str(key))} {visible(str(item))}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(visible(str(item)) for item in value)
    return visible(str(value))

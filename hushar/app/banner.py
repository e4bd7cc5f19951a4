"""What is said at start about what is served."""

import ipaddress
import logging
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import hushar
from hushar.app.preparing import Prepared
from hushar.app.privacy import idle_names
from hushar.config.service import ServiceConfiguration
from hushar.features.vectorize import kernel_name
from hushar.texts import visible

log = logging.getLogger("hushar")


def facts(prepared: Prepared, address: str, admin: str | None = None) -> Mapping[str, Any]:
    """What is served, as plain values in the order in which a person wants to read them. `admin`: where the
    admin port is, if there is one."""
    configuration = prepared.configuration
    unix_socket = configuration.server.unix_socket
    runtime = prepared.served.runtime
    columns = {feature.name: feature.columns for feature in prepared.plan.features}
    return {
        "hushar": hushar.__version__,
        "model_id": prepared.served.model_id,
        "model_version": prepared.served.version,
        "runtime": f"{runtime.name} {runtime.version}",
        "kernel": kernel_name(configuration.kernel),
        "inputs": [str(tensor) for tensor in runtime.inputs],
        "outputs": [
            f"{tensor} (scores)" if tensor == runtime.output else str(tensor) for tensor in runtime.outputs
        ],
        **runtime.details,
        "columns": columns,
        "log": prepared.log_sink.description if prepared.log_sink else "none",
        "metrics": [sink.description for sink in prepared.metric_sinks.values()] or "none",
        "limits": _limits(configuration),
        "tls": _tls(prepared),
        "tokens": "off" if prepared.tokens is None else f"{len(prepared.tokens)} known",
        **({"unix_socket": unix_socket} if unix_socket else {}),
        **({"admin": f"http://{admin}"} if admin else {}),
        "address": address,
    }


def _limits(configuration: ServiceConfiguration) -> Mapping[str, Any]:
    """What a call or a connection may be; those that are not set are left out."""
    server = configuration.server
    limits = {
        "connection_concurrency": configuration.connection_concurrency,
        "batching.max_rows": configuration.batching.max_rows,
        "batching.max_call_rows": configuration.batching.max_call_rows,
        "server.max_receive_bytes": server.max_receive_bytes,
        "server.max_send_bytes": server.max_send_bytes,
        "server.max_connections": server.max_connections,
        "server.max_connections_per_address": server.max_connections_per_address,
        "server.max_in_flight": server.max_in_flight,
        "server.max_in_flight_bytes": server.max_in_flight_bytes,
    }
    return {key: value for key, value in limits.items() if value is not None}


def _tls(prepared: Prepared) -> str:
    if prepared.ssl_context is None:
        return "off"
    return "on" if prepared.configuration.tls.client_ca is None else "on, with certificates of clients"


def warnings_of(prepared: Prepared) -> Iterator[str]:
    """What is no mistake, but may not be meant."""
    yield from prepared.loaded.warnings
    if prepared.log_sink is not None:
        yield from idle_names(prepared.configuration.log, prepared.plan)
    host = prepared.configuration.host
    if prepared.ssl_context is None and not is_loopback(host):
        what = "calls" if prepared.tokens is None else "calls and their tokens"
        yield f"host is {host} and there is no TLS: {what} can be read on the way"
    admin = prepared.configuration.admin
    if admin.port is not None and not is_loopback(admin.host):
        yield f"admin.host is {admin.host}: the admin port asks nobody who they are"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def announce(prepared: Prepared, address: str, stream: TextIO, admin: str | None = None) -> None:
    """Print the banner; the last thing said is the line `listening on HOST:PORT`."""
    said = facts(prepared, address, admin)
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

"""The gRPC server of an application: its services, and who may call them."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import purerpc

from hushar.app.preparing import Prepared
from hushar.app.tls import NamedClients
from hushar.app.tokens import Tokens
from hushar.errors import ConfigurationError, Problem
from hushar.inference.batcher import Batcher
from hushar.plugins.calling import FILE, Named, call_factory, kind_of
from hushar.plugins.interface import Hooks, InterceptorFactory, PluginContext, ServiceContext
from hushar.rpc import Server
from hushar.services import health, native, reflection

OWN: Final = "hushar"
"""Who brings the services that every server has."""
_NO_ARGUMENTS: Final = frozenset(("reflection",))
"""Keys of the section `server` that are not the transport's."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that is ready to run, and what has to be told when it ends."""

    server: Server
    health: health.Health
    reflection: reflection.Reflection | None
    tokens: Tokens | None

    def drain(self) -> None:
        """Say that nothing is served any more, then let the calls in flight end."""
        self.health.drain()
        if self.reflection is not None:
            self.reflection.drain()
        self.server.drain()


def make_endpoint(prepared: Prepared, batcher: Batcher) -> Endpoint:
    """The server with all of its services and hooks. Raises ConfigurationError: a plugin's fault."""
    configuration = prepared.configuration
    server = Server(
        configuration.port_number,
        prepared.ssl_context,
        host=configuration.host,
        connection_concurrency=configuration.connection_concurrency,
        require_alpn=True,
        **configuration.server.model_dump(exclude=set(_NO_ARGUMENTS)),
        **configuration.http2.model_dump(),
    )
    tokens = _add_hooks(server, prepared)
    native.add_native_service(server, batcher)
    further = _further_services(prepared, batcher)
    state = health.Health([native.NAME, *further])
    served: dict[str, purerpc.Service | None] = {health.NAME: state.service, **further}
    told = None
    if configuration.server.reflection:
        told = reflection.Reflection({native.NAME: None, **served})
        served |= {service.name: service for service in told.services}
    for service in served.values():
        server.add_service(service)
    return Endpoint(server, state, told, tokens)


def _add_hooks(server: Server, prepared: Prepared) -> Tokens | None:
    """Who is no client of ours is refused first; then come the hooks of plugins, in their order."""
    configuration = prepared.configuration
    if configuration.tls.client_names is not None:
        server.add_hook(NamedClients(configuration.tls.client_names))
    tokens = None
    if prepared.tokens is not None:
        tokens = Tokens(prepared.tokens, configuration.auth.exempt)
        server.add_hook(tokens)
    for named in prepared.registry.interceptors:
        settings = prepared.plugin_settings.get(named.plugin)
        context = PluginContext(settings, prepared.served.model_id)
        server.add_hook(*_checked(named, call_factory(named, tuple, context)))
    return tokens


def _checked(named: Named[InterceptorFactory], made: tuple[Any, ...]) -> Hooks:
    """A pair of plain functions. Raises ConfigurationError for anything else."""
    mistakes = [mistake for each in made if (mistake := _mistake_of(each)) is not None]
    if len(made) != 2:
        mistakes = [f"expected (before, after), got {len(made)} values"]
    if mistakes:
        raise ConfigurationError([Problem(FILE, named.plugin, f"{named.place}: {mistakes[0]}")])
    return made[0], made[1]


def _mistake_of(hook: Any) -> str | None:
    """A coroutine function would let every call through: nobody awaits it."""
    if hook is not None and not callable(hook):
        return f"expected a function or None, got {kind_of(hook)}"
    if any(map(inspect.iscoroutinefunction, (hook, getattr(type(hook), "__call__", None)))):  # noqa: B004
        return "expected a plain function, got an async one"
    return None


def _further_services(prepared: Prepared, batcher: Batcher) -> Mapping[str, purerpc.Service]:
    """The services of plugins, by name. Raises ConfigurationError, also for a name that is taken."""

    async def score(message: bytes) -> bytes:
        return await native.score(batcher, message)

    brought: dict[str, purerpc.Service] = {}
    names = dict.fromkeys(_own_names(prepared), OWN)
    for named in prepared.registry.services:
        context = ServiceContext(
            prepared.plugin_settings.get(named.plugin),
            prepared.served.model_id,
            prepared.served.version,
            score,
        )
        made: Any = call_factory(named, (purerpc.Service, purerpc.Servicer), context)
        service = made.service if isinstance(made, purerpc.Servicer) else made
        if service.name in names:
            other = names[service.name]
            message = f"both {other!r} and {named.plugin!r} bring the service {service.name!r}"
            raise ConfigurationError([Problem(FILE, "hushar_services", message)])
        names[service.name] = named.plugin
        brought[service.name] = service
    return brought


def _own_names(prepared: Prepared) -> Iterator[str]:
    yield native.NAME
    yield health.NAME
    if prepared.configuration.server.reflection:
        yield from reflection.NAMES

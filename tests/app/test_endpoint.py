"""The gRPC server of an application: what is served, who is let in, and what is passed on."""

import types
from pathlib import Path

import purerpc
import pytest

from hushar.app.endpoint import make_endpoint
from hushar.config.transport import Http2Section, ServerSection
from hushar.errors import ConfigurationError
from hushar.plugins import PluginContext
from hushar.rpc import Server


class FakeBatcher:
    def submit(self, calls):
        raise AssertionError("nothing is called here")


class FakeServer(Server):
    """Keeps what it was made of."""

    def __init__(self, port, ssl_context, **settings):
        self.settings = settings | {"port": port, "ssl_context": ssl_context}
        self.hooks = []
        super().__init__(port, ssl_context, **settings)

    def add_hook(self, before=None, after=None):
        self.hooks.append((before, after))
        super().add_hook(before, after)


@pytest.fixture
def made(workspace, monkeypatch):
    """made(**keys): the endpoint of a configuration."""
    monkeypatch.setattr("hushar.app.endpoint.Server", FakeServer)

    async def make(**keys):
        return make_endpoint(await workspace.prepare(**keys), FakeBatcher())

    return make


async def mistake(made):
    with pytest.raises(ConfigurationError) as caught:
        await made()
    (problem,) = caught.value.problems
    return problem


def nothing(*arguments):
    pass


class TestTransport:
    async def test_everything_that_is_configured_is_passed_on(self, made):
        server = (await made(connection_concurrency=7, host="127.0.0.2")).server
        passed = dict(server.settings)
        assert (passed.pop("host"), passed.pop("connection_concurrency")) == ("127.0.0.2", 7)
        assert passed.pop("require_alpn") is True
        assert (passed.pop("port"), passed.pop("ssl_context")) == (0, None)
        names = {*ServerSection.model_fields, *Http2Section.model_fields} - {"reflection"}
        assert passed.keys() == names

    async def test_values_arrive(self, made):
        server = (await made(server={"max_receive_bytes": 1000}, http2={"reset_rate": 7})).server
        assert server.limits.max_receive_bytes == 1000
        assert server.limits.reset_rate == 7
        assert server.limits.compression == ("gzip", "deflate")


class TestServices:
    async def test_health_and_reflection_are_served_beside_our_own(self, made):
        endpoint = await made()
        assert set(endpoint.server.services) == {
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }

    async def test_reflection_can_be_left_out(self, made):
        endpoint = await made(server={"reflection": False})
        assert set(endpoint.server.services) == {"grpc.health.v1.Health"}
        assert endpoint.reflection is None
        endpoint.drain()

    async def test_those_of_plugins_are_served_and_known_to_health(self, made, install_plugin):
        install_plugin("more", services=[lambda context: purerpc.Service("test.More")])
        endpoint = await made()
        assert "test.More" in endpoint.server.services
        assert [endpoint.health.status(name) for name in ("", "hushar.Hushar", "test.More")] == [1, 1, 1]

    @pytest.mark.parametrize(
        "name", ["hushar.Hushar", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]
    )
    async def test_the_names_of_our_own_are_taken(self, made, install_plugin, name):
        install_plugin("thief", services=[lambda context: purerpc.Service(name)])
        problem = await mistake(made)
        assert problem.message == f"both 'hushar' and 'thief' bring the service {name!r}"

    async def test_a_factory_that_returns_something_else_is_named(self, made, install_plugin):
        def make_service(context):
            return 3

        install_plugin("odd", services=[make_service])
        assert str(await mistake(made)) == (
            "plugins: odd: hushar_services: 'make_service': expected a Service or Servicer, "
            "got an instance of int"
        )

    async def test_a_factory_that_fails_is_named(self, made, install_plugin):
        def make_service(context):
            raise KeyError("x")

        install_plugin("odd", services=[make_service])
        assert str(await mistake(made)) == "plugins: odd: hushar_services: 'make_service': KeyError('x')"


class TestHooks:
    async def test_there_is_none_that_nobody_asked_for(self, made):
        """Each would cost every call."""
        assert (await made()).server.hooks == []

    async def test_those_of_plugins_come_after_our_own(self, made, workspace, install_plugin):
        seen = []

        def audit(context):
            seen.append(context)
            return nothing, None

        install_plugin("audit", interceptors=[audit, lambda context: (None, nothing)])
        workspace.write("tokens", b"one\n")
        endpoint = await made(auth={"token_file": "tokens"})
        assert endpoint.server.hooks == [(endpoint.tokens, None), (nothing, None), (None, nothing)]
        assert seen == [PluginContext(None, "tested")]

    @pytest.mark.parametrize(
        ("returned", "words"),
        [
            (nothing, "expected a tuple, got an instance of function"),
            ((nothing,), "expected (before, after), got 1 values"),
            ((nothing, 3), "expected a function or None, got an instance of int"),
        ],
    )
    async def test_anything_but_a_pair_of_functions_is_named(self, made, install_plugin, returned, words):
        def audit(context):
            return returned

        install_plugin("odd", interceptors=[audit])
        assert str(await mistake(made)) == f"plugins: odd: hushar_interceptors: 'audit': {words}"

    async def test_an_async_function_would_let_everybody_in(self, made, install_plugin):
        async def before(request):
            raise AssertionError

        class Before:
            async def __call__(self, request):
                raise AssertionError

        for name, hook in (("function", before), ("callable", Before())):
            install_plugin(name, interceptors=[lambda context, hook=hook: (hook, None)])
        with pytest.raises(ConfigurationError, match="expected a plain function, got an async one"):
            await made(plugins={"allow": ["function"]})
        with pytest.raises(ConfigurationError, match="expected a plain function, got an async one"):
            await made(plugins={"allow": ["callable"]})

    async def test_the_example_of_the_docs_refuses_who_comes_from_elsewhere(self, made, install_plugin):
        page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
        section = page.split("### `hushar_interceptors()`")[1]
        example = {}
        exec(section.split("```python\n")[1].split("```")[0], example)
        install_plugin("example", interceptors=example["hushar_interceptors"]())
        ((before, after),) = (await made()).server.hooks
        assert after is None
        for peer in ("ipv4:127.0.0.1:5", "ipv6:[::1]:5", "unix:"):
            before(types.SimpleNamespace(peer=peer))
        with pytest.raises(purerpc.RpcFailedError) as caught:
            before(types.SimpleNamespace(peer="ipv4:192.0.2.1:5"))
        assert caught.value.status.status_code is purerpc.StatusCode.PERMISSION_DENIED

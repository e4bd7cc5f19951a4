"""Other people's clients against our server: a TestService process, plain and TLS, and the tools.

The helpers are modules beside this file; tests reach them through fixtures only.
"""

import contextlib
import importlib.util
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60
"""Bounds every wait for a process; nothing here is expected to take a tenth of it."""
LISTENING = re.compile(r"listening on 127\.0\.0\.1:(\d+)")

INSTALL = {
    "h2load": "apt-get install nghttp2-client",
    "tonic-client": "cargo build --release in tests/interop/tonic-client",
    "client": "go install google.golang.org/grpc/interop/client@latest",
    "h2spec": "go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible",
    "grpcurl": "go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest",
    "ghz": "go install github.com/bojand/ghz/cmd/ghz@latest",
    "grpc-health-probe": "go install github.com/grpc-ecosystem/grpc-health-probe@latest",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Each of these starts a process or talks to one."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


def _beside(name):
    """The helper module of that name in this folder, loaded by its path (tests are no package)."""
    full_name = f"hushar_interop_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, HERE / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module
        spec.loader.exec_module(module)
    return sys.modules[full_name]


@pytest.fixture(scope="session")
def testmessages():
    """The messages of TestService."""
    return _beside("testmessages")


@pytest.fixture(scope="session")
def frames():
    """HTTP/2 by hand, for what no client library sends."""
    return _beside("frames")


@pytest.fixture(scope="session")
def tool():
    """tool(name): the path of a program; the test is skipped without it."""

    def find(name):
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"needs tool: {name} (scripts/install_tools, or: {INSTALL[name]})")
        return found

    return find


@pytest.fixture(scope="session")
def run_tool(tool):
    """run_tool(name, *arguments): a CompletedProcess with text output."""

    def run(name, *arguments, stdin=None):
        command = [tool(name), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, input=stdin
        )

    return run


@dataclass(frozen=True)
class Certificates:
    """Files: an authority, what the server shows (127.0.0.1 and localhost), what a client shows."""

    authority: str
    certificate: str
    key: str
    client_certificate: str
    client_key: str

    def credentials(self, *, client=False):
        """grpcio's."""
        read = [Path(self.authority).read_bytes(), None, None]
        if client:
            read[1:] = [Path(self.client_key).read_bytes(), Path(self.client_certificate).read_bytes()]
        return grpc.ssl_channel_credentials(*read)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Made for this run."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, identities in (("server", ("127.0.0.1", "localhost")), ("client", ("a-client",))):
        issued = authority.issue_cert(*identities)
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        for index, pem in enumerate(issued.cert_chain_pems):
            pem.write_to_path(folder / f"{name}.pem", append=bool(index))
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    return Certificates(*(str(folder / name) for name in names))


@dataclass(frozen=True)
class Served:
    """A TestService that runs."""

    port: int
    certificates: Certificates | None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def channel(self, **options):
        """A grpcio channel with no connection in common with others."""
        arguments = [("grpc.use_local_subchannel_pool", 1), *options.pop("options", ())]
        if self.certificates is None:
            return grpc.insecure_channel(self.address, options=arguments, **options)
        return grpc.secure_channel(
            self.address, self.certificates.credentials(), options=arguments, **options
        )


@contextlib.contextmanager
def running(command, log):
    """Run a server; the port from its "listening on" line. It is ended, and must not have complained."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(list(map(str, command)), stdout=stderr, stderr=stderr)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := LISTENING.search(log.read_text(errors="replace"))):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, "the server did not begin to listen"
            time.sleep(0.02)
        yield int(found[1])
        assert process.poll() is None, log.read_text(errors="replace")
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def serve_testservice(tmp_path_factory, certificates):
    """serve_testservice(*arguments, tls=False): a TestService process until the end of the session."""
    folder = tmp_path_factory.mktemp("testservice")
    with contextlib.ExitStack() as stack:

        def serve(*arguments, tls=False):
            command = [sys.executable, HERE / "testservice.py", "--port", "0", *arguments]
            if tls:
                command += ["--certificate", certificates.certificate, "--key", certificates.key]
            log = folder / f"{len(list(folder.iterdir()))}.log"
            port = stack.enter_context(running(command, log))
            return Served(port, certificates if tls else None)

        yield serve


@pytest.fixture(scope="session", params=["plain", "tls"])
def either(request, serve_testservice):
    """A TestService, once plain and once over TLS."""
    return serve_testservice(tls=request.param == "tls")


@pytest.fixture(scope="session")
def served(serve_testservice):
    """A plain TestService."""
    return serve_testservice()


@pytest.fixture(scope="session", params=["plain", "tls"])
def hushar_served(request, tmp_path_factory, certificates):
    """`hushar serve --demo`, once plain and once over TLS."""
    folder = tmp_path_factory.mktemp("demo")
    tls = request.param == "tls"
    settings = []
    if tls:
        settings = ["--set", f"tls.certificate={certificates.certificate}"]
        settings += ["--set", f"tls.key={certificates.key}"]
    command = [sys.executable, "-m", "hushar", "serve", "--demo", "--port", "0", *settings]
    command += ["--set", f"log.spool_dir={folder}/spool", "--set", "metrics.sinks=[]"]
    with running(command, folder / "log") as port:
        yield Served(port, certificates if tls else None)

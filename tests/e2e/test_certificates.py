"""Certificates that are not valid, keys that do not fit: refused at start, kept out of a running server."""

import signal
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import trustme

TLS = {"certificate": "a.crt", "key": "a.key", "client_ca": "ca.pem"}
DAYS = timedelta(days=1)


class Files:
    """An authority, and a workspace's files `a.crt`, `a.key` and `ca.pem`."""

    def __init__(self, workspace):
        self.workspace = workspace
        self.authority = trustme.CA()
        self.good()

    def write(self, *, begins=-1, ends=1, key=True):
        """A certificate that is valid between these days from now; its key, or the old one."""
        now = datetime.now(UTC)
        times = {"not_before": now + begins * DAYS, "not_after": now + ends * DAYS}
        made = self.authority.issue_cert("127.0.0.1", "localhost", **times)
        self.workspace.write("a.crt", b"".join(pem.bytes() for pem in made.cert_chain_pems))
        if key:
            self.workspace.write("a.key", made.private_key_pem.bytes())

    def good(self):
        self.write()
        self.workspace.write("ca.pem", self.authority.cert_pem.bytes())

    def credentials(self):
        """Of a client that the server lets in."""
        client = self.authority.issue_cert("a-client")
        key, chain = client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()
        return grpc.ssl_channel_credentials(self.authority.cert_pem.bytes(), key, chain)


MISTAKES = {
    "expired": (lambda files: files.write(begins=-20, ends=-10), "tls.certificate", "expired at"),
    "not yet valid": (lambda files: files.write(begins=10, ends=20), "tls.certificate", "not valid before"),
    "a key of another": (lambda files: files.write(key=False), "tls.certificate", "does not fit"),
    "no certificate": (lambda files: files.workspace.write("a.crt", b"x"), "tls.certificate", "a.crt"),
    "no authority": (lambda files: files.workspace.write("ca.pem", b"x"), "tls.client_ca", "ca.pem"),
    "authority gone": (lambda files: files.workspace.path("ca.pem").unlink(), "tls.client_ca", "ca.pem"),
}


@pytest.fixture
def files(workspace, onnx_models):
    workspace.configure(onnx_models.echo(1), tls=TLS)
    return Files(workspace)


@pytest.mark.parametrize(("spoil", "key", "words"), MISTAKES.values(), ids=MISTAKES)
def test_what_cannot_be_used_is_refused_at_start(files, spoil, key, words):
    spoil(files)
    for command in ("serve", "check"):
        port = ["--port", "0"] if command == "serve" else []
        refused = files.workspace.run(command, "service.json", *port)
        assert refused.returncode == 2, refused.stderr
        (line,) = [line for line in refused.stderr.splitlines() if f"{key}:" in line]
        assert words in line
        assert "Traceback" not in refused.stderr


def test_what_cannot_be_used_later_leaves_the_old_in_force_and_is_said_once(files, servers, connect, serving):
    server = servers.start(files.workspace)
    row = [("r", {"x": ("float_value", 4.0)})]
    open_since_the_start = connect(server, files.credentials())
    assert open_since_the_start.rows(row) == [[4]]

    def complaints():
        return [line for line in server.lines if "certificates stay as they are" in line]

    for number, (spoil, key, words) in enumerate(MISTAKES.values(), 1):
        files.good()
        spoil(files)
        server.signal(signal.SIGHUP)
        serving.eventually(lambda: len(complaints()) >= number, "a line in the log")  # noqa: B023
        assert f"{key}: " in complaints()[-1]
        assert words in complaints()[-1]
        assert " error " in complaints()[-1]
        assert connect(server, files.credentials()).rows(row) == [[4]]
    files.good()
    server.signal(signal.SIGHUP)
    server.line("certificates were read again")
    assert connect(server, files.credentials()).rows(row) == [[4]]
    assert open_since_the_start.rows(row) == [[4]]
    assert len(complaints()) == len(MISTAKES)
    assert server.terminate() == 0

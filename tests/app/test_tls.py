"""TLS of the gRPC port: contexts shake hands with clients here, in memory."""

import contextlib
import ssl
import types
from datetime import UTC, datetime, timedelta

import purerpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hushar.app.tls import NamedClients, files_of, make_context
from hushar.config.transport import TlsSection
from hushar.errors import ConfigurationError


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def files(tmp_path, authority):
    """files(**keys): the section `tls` with a certificate for localhost, and an authority for clients."""
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "crt")
    authority.cert_pem.write_to_path(tmp_path / "ca")

    def section(*, clients=False, **keys):
        paths = {"certificate": str(tmp_path / "crt"), "key": str(tmp_path / "key")}
        if clients:
            paths["client_ca"] = str(tmp_path / "ca")
        return TlsSection(**(paths | keys))

    return section


def client(authority, *names, alpn=("h2",)):
    """The context of a client that trusts the authority, with a certificate if it has names."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(alpn)
    if names:
        authority.issue_cert(*names).configure_cert(context)
    return context


def shake_hands(server_context, client_context):
    """Both ends after the handshake. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    asking = client_context.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(3):
        for end in (asking, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return server, asking


def hook(*names):
    """hook(names)(certificate): None, or the status that a call is refused with."""
    named = NamedClients(names)

    def ask(certificate):
        try:
            named(types.SimpleNamespace(peer_certificate=certificate))
        except purerpc.RpcFailedError as refused:
            return refused.status.status_code.name
        return None

    return ask


class TestContext:
    def test_http2_is_agreed_on_with_a_modern_cipher(self, files, authority):
        server, asking = shake_hands(make_context(files()), client(authority))
        assert server.selected_alpn_protocol() == asking.selected_alpn_protocol() == "h2"
        assert server.version() == "TLSv1.3"
        assert server.getpeercert() is None

    def test_tls_1_2_speaks_only_what_http2_allows(self, files, authority):
        old = client(authority)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        server, _ = shake_hands(make_context(files()), old)
        name, _, _ = server.cipher()
        assert name.startswith("ECDHE-")
        assert "GCM" in name or "CHACHA20" in name
        old.set_ciphers("ECDHE+AES+SHA256:!AESGCM:!CHACHA20")
        with pytest.raises(ssl.SSLError):
            shake_hands(make_context(files()), old)

    def test_an_older_version_than_the_oldest_is_refused(self, files, authority):
        old = client(authority)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            shake_hands(make_context(files(min_version="1.3")), old)

    def test_a_client_shows_its_certificate_where_it_has_to(self, files, authority):
        context = make_context(files(clients=True))
        server, _ = shake_hands(context, client(authority, "client.example"))
        assert server.getpeercert()["subjectAltName"] == (("DNS", "client.example"),)

    @pytest.mark.parametrize("names", [(), ("client.example",)])
    def test_without_one_of_the_authority_it_is_refused(self, files, authority, names):
        stranger = client(authority)
        if names:
            trustme.CA().issue_cert(*names).configure_cert(stranger)
        with pytest.raises(ssl.SSLError):
            shake_hands(make_context(files(clients=True)), stranger)

    def test_the_authorities_of_the_system_let_nobody_in(self, files):
        assert [len(make_context(files(clients=True)).get_ca_certs())] == [1]


class TestMistakes:
    def problems(self, section):
        with pytest.raises(ConfigurationError) as caught:
            make_context(section)
        return {problem.key: problem.message for problem in caught.value.problems}

    def test_every_file_that_is_not_there_is_named(self, files, tmp_path):
        for name in ("crt", "key", "ca"):
            (tmp_path / name).unlink()
        found = self.problems(files(clients=True))
        assert found == {
            "tls.certificate": f"cannot read {tmp_path}/crt: No such file or directory",
            "tls.key": f"cannot read {tmp_path}/key: No such file or directory",
            "tls.client_ca": f"cannot read {tmp_path}/ca: No such file or directory",
        }

    @pytest.mark.parametrize("content", [b"", b"no PEM"])
    def test_files_that_hold_something_else_are_named(self, files, tmp_path, content):
        for name in ("crt", "ca"):
            (tmp_path / name).write_bytes(content)
        found = self.problems(files(clients=True))
        assert set(found) == {"tls.certificate", "tls.client_ca"}
        assert found["tls.client_ca"].startswith(f"{tmp_path}/ca cannot be used: ")

    def test_a_key_of_another_certificate_is_named(self, files, tmp_path):
        trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(tmp_path / "key")
        (message,) = self.problems(files()).values()
        assert message.startswith(
            f"{tmp_path}/crt and {tmp_path}/key cannot be used: the key (tls.key) does not fit"
        )

    def test_an_encrypted_key_is_named(self, files, tmp_path):
        key = serialization.load_pem_private_key((tmp_path / "key").read_bytes(), None)
        encrypted = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        (tmp_path / "key").write_bytes(encrypted)
        (message,) = self.problems(files()).values()
        assert "the key is encrypted" in message

    @pytest.mark.parametrize(
        ("begins", "ends", "words"), [(-20, -10, "expired at "), (10, 20, "is not valid before ")]
    )
    def test_a_certificate_that_is_not_valid_now_is_named(
        self, files, tmp_path, authority, begins, ends, words
    ):
        begins, ends = (datetime.now(UTC) + timedelta(days=days) for days in (begins, ends))
        issued = authority.issue_cert("localhost", not_before=begins, not_after=ends)
        issued.private_key_pem.write_to_path(tmp_path / "key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / "crt")
        day = f"{ends if 'expired' in words else begins:%Y-%m-%d}"
        found = self.problems(files())
        assert set(found) == {"tls.certificate"}
        assert found["tls.certificate"].startswith(f"{tmp_path}/crt {words}{day}")

    @pytest.mark.parametrize(("ends", "message"), [((-10, -20), "expired at"), ((-10, 10), None)])
    def test_authorities_of_which_none_is_valid_are_named(self, files, tmp_path, ends, message):
        pems = [expired_authority(end).public_bytes(serialization.Encoding.PEM) for end in ends]
        (tmp_path / "ca").write_bytes(b"".join(pems))
        if message is None:
            assert len(make_context(files(clients=True)).get_ca_certs()) == 2
        else:
            found = self.problems(files(clients=True))
            assert set(found) == {"tls.client_ca"}
            assert found["tls.client_ca"].startswith(f"{tmp_path}/ca {message}")


def expired_authority(ends):
    """One that ends in so many days, and began forty before."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"authority {ends}")])
    end = datetime.now(UTC) + timedelta(days=ends)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, end - timedelta(days=40), end)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256())


def test_the_files_are_those_that_are_given(files):
    assert files_of(TlsSection()) == {}
    assert set(files_of(files())) == {"tls.certificate", "tls.key"}
    assert set(files_of(files(clients=True))) == {"tls.certificate", "tls.key", "tls.client_ca"}


CERTIFICATE = {
    "subject": ((("commonName", "common.example"),),),
    "subjectAltName": (
        ("DNS", "Client.Example"),
        ("DNS", "*.wild.example"),
        ("URI", "spiffe://example/Client"),
        ("IP Address", "10.0.0.1"),
        ("email", "client@example"),
        ("Registered ID", "1.2.3"),
    ),
}
"""As `SSLSocket.getpeercert` has one."""


class TestNames:
    @pytest.mark.parametrize(
        "name",
        ["client.example", "Client.Example", "spiffe://example/Client", "10.0.0.1", "client@example"],
    )
    def test_one_of_its_names_is_enough(self, name):
        assert hook("other.example", name)(CERTIFICATE) is None

    @pytest.mark.parametrize(
        "name",
        [
            "common.example",
            "a.wild.example",
            "spiffe://example/client",
            "spiffe://example/Client/x",
            "lient.example",
            "1.2.3",
        ],
    )
    def test_anything_else_is_refused(self, name):
        assert hook(name)(CERTIFICATE) == "PERMISSION_DENIED"

    @pytest.mark.parametrize("certificate", [None, {}, {"subjectAltName": ()}])
    def test_without_a_name_it_is_refused(self, certificate):
        assert hook("client.example")(certificate) == "PERMISSION_DENIED"

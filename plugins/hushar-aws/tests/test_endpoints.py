"""Where requests go: region, endpoint and certificates, by botocore."""

import http.server
import os
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from hushar.plugins import ConfigurationError
from hushar_aws.client import AwsClient
from hushar_aws.endpoints import resolve
from hushar_aws.errors import AwsError
from hushar_aws.s3_log_sink import S3LogSink
from hushar_aws.s3_uris import locate
from hushar_aws.settings import AwsSettings


@pytest.fixture
def config(tmp_path, monkeypatch, aws_server):
    """config(text): ~/.aws/config; nothing else says where AWS is."""
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)

    def write(text: str) -> None:
        (tmp_path / "config").write_text(text)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    return write


class TestRegion:
    def test_the_order(self, config, monkeypatch):
        with pytest.raises(ConfigurationError, match=r"^plugins\.aws\.region: no region"):
            resolve(AwsSettings(), "kinesis")
        config("[default]\nregion = eu-west-1\n[profile other]\nregion = eu-west-2\n")
        assert resolve(AwsSettings(), "kinesis").region == "eu-west-1"
        assert resolve(AwsSettings(profile="other"), "kinesis").region == "eu-west-2"
        monkeypatch.setenv("AWS_REGION", "eu-west-3")
        assert resolve(AwsSettings(), "kinesis").region == "eu-west-3"
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
        assert resolve(AwsSettings(), "kinesis").region == "eu-north-1"
        assert resolve(AwsSettings(region="eu-south-1"), "kinesis").region == "eu-south-1"


class TestProfile:
    def test_one_that_is_not_there_is_named_and_so_is_who_names_it(self, config, monkeypatch):
        config("[default]\nregion = eu-west-1\n")
        with pytest.raises(ConfigurationError, match=r"^plugins\.aws\.profile: .*\(nope\).* found$"):
            resolve(AwsSettings(profile="nope"), "kinesis")
        monkeypatch.setenv("AWS_PROFILE", "nope")
        with pytest.raises(ConfigurationError, match=r"\(nope\).*\(AWS_PROFILE names it\)$"):
            resolve(AwsSettings(), "kinesis")


class TestUrl:
    @pytest.mark.parametrize(
        ("service", "bucket", "url", "name"),
        [
            ("s3", "bucket", "https://bucket.s3.eu-west-1.amazonaws.com", "s3"),
            ("s3", "with.dots", "https://s3.eu-west-1.amazonaws.com/with.dots", "s3"),
            ("kinesis", None, "https://kinesis.eu-west-1.amazonaws.com", "kinesis"),
            ("cloudwatch", None, "https://monitoring.eu-west-1.amazonaws.com", "monitoring"),
        ],
    )
    def test_of_aws(self, config, service, bucket, url, name):
        endpoint = resolve(AwsSettings(region="eu-west-1"), service, bucket)
        assert (endpoint.url, endpoint.signing_name, endpoint.is_secure) == (url, name, True)

    def test_of_another_partition(self, config):
        endpoint = resolve(AwsSettings(region="cn-north-1"), "s3", "bucket")
        assert endpoint.url == "https://bucket.s3.cn-north-1.amazonaws.com.cn"

    def test_from_the_environment(self, config, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000/")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9001/base/")
        settings = AwsSettings(region="eu-west-1")
        assert resolve(settings, "kinesis").url == "http://127.0.0.1:9000"
        assert resolve(settings, "s3", "bucket").url == "http://127.0.0.1:9001/base/bucket"

    def test_from_the_profile(self, config):
        config("[default]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:9002\n")
        assert resolve(AwsSettings(), "s3", "bucket").url == "http://127.0.0.1:9002/bucket"

    def test_as_the_profile_wants_it(self, config):
        config(
            "[default]\nregion = eu-west-1\ns3 =\n  addressing_style = path\nuse_dualstack_endpoint = true\n"
        )
        url = resolve(AwsSettings(), "s3", "bucket").url
        assert url == "https://s3.dualstack.eu-west-1.amazonaws.com/bucket"

    def test_one_with_a_password_is_refused_and_not_shown(self, config, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://someone:planted@127.0.0.1:9000")
        with pytest.raises(ConfigurationError, match=r"^plugins\.aws: .*password") as raised:
            resolve(AwsSettings(region="eu-west-1"), "s3", "bucket")
        assert "planted" not in str(raised.value)

    def test_no_url(self, config, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
        with pytest.raises(ConfigurationError, match=r"^plugins\.aws: .*nonsense"):
            resolve(AwsSettings(region="eu-west-1"), "s3", "bucket")


@pytest.fixture
def secure(tmp_path, monkeypatch, aws_server):
    """A server with TLS whose certificate nobody knows; what it gets."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.send_header("etag", '"etag"')
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://localhost:{server.server_port}")
        yield got
        server.shutdown()
        thread.join()


class TestCertificates:
    async def test_the_bundle_is_that_of_the_environment(self, secure, tmp_path, monkeypatch, make_segment):
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        sink = S3LogSink(locate("s3://bucket/log"), AwsSettings())
        segment = make_segment(300_000)
        await sink.deliver(segment)
        await sink.aclose()
        ((headers, body),) = secure
        assert body == segment.path.read_bytes()
        # The file is read once for its checksum; TLS protects the rest.
        assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
        assert headers["x-amz-checksum-crc32c"]

    async def test_a_stranger_is_not_trusted(self, secure):
        client = AwsClient(AwsSettings(), "s3", bucket="bucket")
        with pytest.raises(
            AwsError, match=r"Unreachable: localhost:\d+: .*CERTIFICATE_VERIFY_FAILED"
        ) as raised:
            await client.request("PUT", "/x")
        await client.aclose()
        assert raised.value.kind == "transient"
        assert secure == []

    def test_no_such_file(self, config, monkeypatch, tmp_path: Path):
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "nothing.pem"))
        with pytest.raises(ConfigurationError, match=r"AWS_CA_BUNDLE.*nothing\.pem"):
            resolve(AwsSettings(region="eu-west-1"), "s3", "bucket")


class TestProxies:
    @pytest.fixture
    def proxy(self, aws_server, monkeypatch) -> Iterator[list[str]]:
        """An HTTP proxy, which the environment names; the request lines that it got."""
        got: list[str] = []

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline().decode().strip()
                got.append(line)
                while self.rfile.readline().strip():
                    pass
                if not line.startswith("CONNECT"):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nback")
                    return
                host, port = line.split()[1].split(":")
                with socket.create_connection((host, int(port))) as there:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
                    back = threading.Thread(target=copy, args=(there, self.connection))
                    back.start()
                    copy(self.connection, there)
                    back.join()

        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
                monkeypatch.setenv(
                    name, f"http://someone:proxy-password@127.0.0.1:{server.server_address[1]}"
                )
            yield got
            server.shutdown()
            thread.join()

    async def test_by_tls_it_is_asked_for_a_tunnel(self, secure, proxy, tmp_path, monkeypatch, make_segment):
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        sink = S3LogSink(locate("s3://bucket/a b/../c"), AwsSettings())
        segment = make_segment(300_000)
        await sink.deliver(segment)
        await sink.aclose()
        ((_, body),) = secure
        assert body == segment.path.read_bytes()
        port = os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]
        assert proxy == [f"CONNECT localhost:{port} HTTP/1.1"]

    async def test_without_tls_it_is_asked_for_the_url_as_it_was_signed(self, proxy, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.example.com")
        client = AwsClient(AwsSettings(), "s3", bucket="bucket")
        assert (await client.request("GET", "/a b/../c", query={"x": "y"})).body == b"back"
        await client.aclose()
        assert proxy == ["GET http://s3.example.com/bucket/a%20b/../c?x=y HTTP/1.1"]

    async def test_not_for_whom_the_environment_excepts(self, proxy, monkeypatch, faulty_aws, aws_bucket):
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        client = AwsClient(AwsSettings(), "s3", bucket=aws_bucket)
        await client.request("GET", "/x", expect=(404,))
        await client.aclose()
        assert proxy == []
        assert faulty_aws.count() == 1

    async def test_one_that_refuses_is_told_from_aws(self, monkeypatch, aws_server):
        listener = socket.create_server(("127.0.0.1", 0))

        def refuse() -> None:
            for _ in range(3):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")

        monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.com")
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        client = AwsClient(AwsSettings(), "s3", bucket="bucket")
        with listener:
            thread = threading.Thread(target=refuse)
            thread.start()
            with pytest.raises(AwsError, match=r"^Unreachable: s3\.example\.com: the proxy: 407 Who"):
                await client.request("GET", "/x")
            thread.join()
        await client.aclose()

    @pytest.mark.parametrize("url", ["ftp://u:proxy-password@proxy:1", "http://u:proxy-password@proxy:port"])
    async def test_one_that_is_none_stops_the_start(self, proxy, monkeypatch, url):
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, url)
        client = AwsClient(AwsSettings(), "s3", bucket="bucket")
        with pytest.raises(ConfigurationError, match=r"^plugins\.aws: the proxy that HTTPS_PROXY") as raised:
            await client.open()
        await client.aclose()
        assert "proxy-password" not in str(raised.value)


def copy(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        while data := here.recv(65536):
            there.sendall(data)
    with suppress(OSError):
        there.shutdown(socket.SHUT_WR)

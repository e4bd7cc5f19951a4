"""A fake AWS on this machine: moto's server as a process, and an environment that points to it.

moto comes with the extra `hushar[testing]`; nothing of it is imported here.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Final, Self

REGION: Final = "us-east-1"
ACCESS_KEY: Final = "AKIAFAKEFAKEFAKEFAKE"
SECRET_KEY: Final = "fakeSecretKeyOfNobody/0000000000000000"  # noqa: S105
STOP_SECONDS: Final = 10
_MOTO: Final = Path(__file__).with_name("moto_process.py")


def aws_environment(endpoint: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environ` with an AWS that is at `endpoint` and nowhere else.

    Every `AWS_…` variable of it is left out; what is added gives false credentials, a region, and keeps
    profile files, the instance's metadata and HTTP proxies out of it.
    """
    others = {name: value for name, value in environ.items() if not name.upper().startswith("AWS_")}
    return {
        **others,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


class MotoServer:
    """moto's server: S3, CloudWatch, Kinesis and the rest of what moto knows, at `url`.

    A process on a free port of 127.0.0.1, from the beginning of its block to the end; it ends by itself
    when this process does, however that ends.
    """

    def __init__(self) -> None:
        self._port = 0
        self._stack = ExitStack()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        """Start it. Raises RuntimeError where moto is not installed, or does not start."""
        with ExitStack() as stack:
            said = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
            # -P: the folder of the program is hushar's, and nothing of it is to be imported by name.
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", _MOTO],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=aws_environment("http://127.0.0.1:1"),
                text=True,
            )
            stack.callback(_stop, process)
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            if not line:
                process.wait(STOP_SECONDS)
                said.seek(0)
                why = said.read().strip() or f"it ended with {process.returncode}"
                raise RuntimeError(f"moto's server does not start: {why}; pip install 'hushar[testing]'")
            self._port = int(line)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def reset(self) -> None:
        """Forget everything: buckets, streams, metrics."""
        self._request("POST", "/moto-api/reset")

    def create_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        self._request("PUT", f"/{name}")

    def create_stream(self, name: str, *, shards: int = 1) -> None:
        """Make a Kinesis stream."""
        scope = f"Credential={ACCESS_KEY}/20260101/{REGION}/kinesis/aws4_request"
        headers = {
            # moto checks no signature, but reads the region here.
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
            "X-Amz-Target": "Kinesis_20131202.CreateStream",
            "Content-Type": "application/x-amz-json-1.1",
        }
        body = json.dumps({"StreamName": name, "ShardCount": shards}).encode()
        self._request("POST", "/", body, headers)

    def _request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with closing(connection):
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            answer = response.read()
        if response.status >= 300:
            raise RuntimeError(f"moto: {method} {path}: {response.status}: {answer[:500]!r}")


def _stop(process: "subprocess.Popen[str]") -> None:
    """The end of its input ends it; if not, a signal does."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

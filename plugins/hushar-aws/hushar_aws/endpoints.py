"""Where a service is: region, URL and certificates, all by botocore's public interface. No network.

An endpoint may be set by `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`, … or by the profile; a bucket's
own host name, its path, dual-stack, FIPS and partitions are botocore's rule sets.
"""

import os
import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import botocore
import botocore.awsrequest
import botocore.exceptions
import botocore.session
import certifi
from botocore.config import Config

from hushar.plugins import ConfigurationError, Problem
from hushar_aws.errors import one_line
from hushar_aws.settings import AwsSettings

REGION_KEY: Final = "plugins.aws.region"
PROFILE_KEY: Final = "plugins.aws.profile"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a client has to know before its first request."""

    url: str
    """Scheme, host, port and a path that the request's is appended to; no slash at its end."""
    region: str
    signing_name: str
    ssl_context: ssl.SSLContext = field(repr=False)

    @property
    def is_secure(self) -> bool:
        """Whether TLS protects what is sent."""
        return self.url.startswith("https:")


def resolve(settings: AwsSettings, service: str, bucket: str | None = None) -> Endpoint:
    """The endpoint of `service`, for S3 that of `bucket`. Blocks (reads files): call it in a thread.

    Raises ConfigurationError: no region, no such profile, an endpoint that is no URL, certificates that
    cannot be read.
    """
    try:
        session = botocore.session.Session(profile=settings.profile)
        region = region_of(settings, session)
        # Unsigned: making a client must not look for credentials, which may ask the network.
        config = Config(signature_version=botocore.UNSIGNED, retries={"total_max_attempts": 1})
        client = session.create_client(service, region_name=region, config=config)
        url = client.meta.endpoint_url if bucket is None else _bucket_url(client, bucket)
        signing_name = str(client.meta.service_model.signing_name)
        bundle = session.get_config_variable("ca_bundle")
    except botocore.exceptions.ProfileNotFound as error:
        named = "" if settings.profile else " (AWS_PROFILE names it)"
        raise ConfigurationError([Problem("", PROFILE_KEY, one_line(str(error)) + named)]) from None
    except botocore.exceptions.InvalidRegionError as error:
        raise ConfigurationError([Problem("", REGION_KEY, one_line(str(error)))]) from None
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        # ValueError: AWS_ENDPOINT_URL is no URL.
        raise ConfigurationError([Problem("", "plugins.aws", one_line(str(error)))]) from None
    if urlsplit(url).username is not None:
        # httpx would send them in place of the signature.
        message = "the endpoint of AWS_ENDPOINT_URL holds a user's name or password, which AWS does not know"
        raise ConfigurationError([Problem("", "plugins.aws", message)])
    return Endpoint(url.rstrip("/"), region, signing_name, _ssl_context(bundle))


def region_of(settings: AwsSettings, session: Any) -> str:
    """Raises ConfigurationError if nothing names one."""
    region = find_region(settings.region, session)
    if not region:
        message = "no region: set it here, by AWS_REGION or AWS_DEFAULT_REGION, or in the profile"
        raise ConfigurationError([Problem("", REGION_KEY, message)])
    return region


def find_region(setting: str | None, session: Any) -> str | None:
    """That of the configuration, the environment or the profile."""
    return (
        setting
        or os.environ.get("AWS_DEFAULT_REGION")
        or os.environ.get("AWS_REGION")  # what the other SDKs read, and what containers have
        or session.get_config_variable("region")
    )


class _NoBytes:
    """The body of an answer, as far as botocore asks for it."""

    def stream(self) -> tuple[bytes, ...]:
        return ()


def _bucket_url(client: Any, bucket: str) -> str:
    """Where botocore would send a request for the bucket; the request is made, but not sent."""
    urls: list[str] = []

    def catch(request: Any, **_: Any) -> Any:
        urls.append(request.url)
        return botocore.awsrequest.AWSResponse(request.url, 200, {}, _NoBytes())

    client.meta.events.register("before-send.s3.HeadBucket", catch)
    client.head_bucket(Bucket=bucket)
    return urls[0]


def _ssl_context(bundle: str | None) -> ssl.SSLContext:
    """Certificates of `AWS_CA_BUNDLE` or the profile's `ca_bundle`, else certifi's, as botocore has it."""
    try:
        return ssl.create_default_context(cafile=bundle or certifi.where())
    except (OSError, ssl.SSLError) as error:
        message = f"AWS_CA_BUNDLE (or the profile's ca_bundle): cannot read {bundle}: {error}"
        raise ConfigurationError([Problem("", "plugins.aws", message)]) from None

"""Credentials by botocore's chain, in a thread: what asks the network or a process never holds up trio."""

import logging
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import botocore.exceptions
import botocore.session
import trio
from botocore.credentials import ReadOnlyCredentials

from hushar_aws.endpoints import find_region
from hushar_aws.errors import AwsError, one_line

logger = logging.getLogger("hushar.aws")

LOAD_SECONDS: Final = 60.0
"""How long the chain may take: it may start a process, or ask a machine that is not there."""
AGAIN_SECONDS: Final = 30.0
"""What will expire soon and is the best that could be had is used for so long before the next look."""

_HEADER: Final = re.compile(r"[\x21-\x7e]+")
_NO_CONTROL: Final = re.compile(r"[^\x00-\x1f\x7f]+")

_HARMLESS: Final = (
    # Their texts are made of names alone.
    botocore.exceptions.InfiniteLoopConfigError,
    botocore.exceptions.InvalidConfigError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.ProfileNotFound,
    botocore.exceptions.SSOTokenLoadError,
    botocore.exceptions.UnauthorizedSSOTokenError,
    botocore.exceptions.UnknownCredentialError,
)


class Credentials:
    """The credentials of one client: found when first asked for, renewed before they expire.

    The chain (environment, profile, web identity, process, container, instance; roles to assume on the way)
    and when it is time to renew are botocore's. Nothing of this has a repr that shows a secret.
    """

    def __init__(
        self,
        profile: str | None,
        clock: Callable[[], float] = time.monotonic,
        *,
        region: str | None = None,
    ) -> None:
        """`profile` and `region` as in the settings: the region is also where a role is assumed."""
        self._profile = profile
        self._region = region
        self._clock = clock
        self._lock = trio.Lock()
        # One thread at a time: one that hangs holds up this client's requests, no others.
        self._limiter = trio.CapacityLimiter(1)
        self._source: Any = None
        self._frozen: ReadOnlyCredentials | None = None
        self._tried_at: float | None = None

    async def get(self) -> ReadOnlyCredentials:
        """Keys to sign with. Raises AwsError where the chain has none."""
        if self._frozen is not None and not self._due():
            return self._frozen
        async with self._lock:
            if self._frozen is None:
                await self._load()
            elif self._due():
                await self._refresh()
            assert self._frozen is not None
            return self._frozen

    async def renew(self, refused: ReadOnlyCredentials) -> None:
        """Look at the whole chain again, for AWS has refused these. Raises AwsError."""
        async with self._lock:
            if self._frozen is refused:
                await self._load()

    def _due(self) -> bool:
        """Whether botocore would refresh them now. No I/O."""
        refresh_needed = getattr(self._source, "refresh_needed", None)
        if refresh_needed is None or not refresh_needed():
            return False
        if self._tried_at is None or self._source.refresh_needed(0):
            return True
        return self._clock() - self._tried_at >= AGAIN_SECONDS

    async def _load(self) -> None:
        """The chain from its start: a new session, since the old one keeps what it has found."""
        self._source, self._frozen = await self._in_thread(partial(_load, self._profile, self._region))
        self._note()

    def _note(self) -> None:
        """Do not look again with every request for what cannot be had, or does not last: it may be."""
        refresh_needed = getattr(self._source, "refresh_needed", None)
        self._tried_at = self._clock() if refresh_needed is not None and refresh_needed() else None

    async def _refresh(self) -> None:
        try:
            self._frozen = await self._in_thread(partial(_freeze, self._source))
            self._note()
        except AwsError as error:
            if self._source.refresh_needed(0):
                raise
            self._note()
            logger.warning("aws: credentials cannot be renewed, the old ones are still valid: %s", error)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        try:
            with trio.fail_after(LOAD_SECONDS):
                return await trio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=self._limiter)
        except AwsError:
            raise
        except trio.TooSlowError:
            message = f"the credentials chain did not answer within {LOAD_SECONDS:.0f} s"
            raise AwsError("NoCredentials", None, message, "credentials") from None
        except Exception as error:
            raise AwsError("NoCredentials", None, _reason(error), "credentials") from None


def _reason(error: Exception) -> str:
    """Why the chain failed. Providers raise what they like, and quote what they were answered: secrets."""
    if isinstance(error, _HARMLESS):
        return one_line(str(error))
    if isinstance(error, botocore.exceptions.ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        return f"the credentials chain failed: {error.operation_name}: {one_line(str(code))}"
    if isinstance(error, OSError) and error.filename:
        # The token of a web identity, the program of a `credential_process`.
        return f"the credentials chain failed: {one_line(str(error.filename))}: {error.strerror}"
    provider = getattr(error, "kwargs", {}).get("provider", "")
    return f"the credentials chain failed: {' '.join(filter(None, (type(error).__name__, str(provider))))}"


def _load(profile: str | None, region: str | None) -> tuple[Any, ReadOnlyCredentials]:
    session = botocore.session.Session(profile=profile)
    if found := find_region(region, session):
        # botocore alone would ask for a role in another region than ours, or in none.
        session.set_config_variable("region", found)
    source = session.get_credentials()
    frozen = None if source is None else _freeze(source)
    if frozen is None:
        message = "no credentials: not in the environment, the profile, a container's or an instance's role"
        raise AwsError("NoCredentials", None, message, "credentials")
    return source, frozen


def _freeze(source: Any) -> ReadOnlyCredentials | None:
    """What the source has now. Raises AwsError for what no header can hold: others would quote it."""
    frozen: ReadOnlyCredentials | None = source.get_frozen_credentials()
    if frozen is not None:
        for name, text, known in (
            ("access key", frozen.access_key, _HEADER),
            ("secret key", frozen.secret_key, _NO_CONTROL),
            ("session token", frozen.token or "-", _HEADER),
        ):
            if not known.fullmatch(text):
                message = f"the {name} holds a character that none has: is there a line break at its end?"
                raise AwsError("NoCredentials", None, message, "credentials")
    return frozen

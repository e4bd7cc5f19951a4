"""The sections of the service configuration that are about the transport and who may use it.

`server` and `http2` are handed to `hushar.rpc.Server` under the same names, whose defaults they have (a
test compares).
"""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from hushar.config.section import (
    Bytes,
    Count,
    LocalPath,
    Names,
    Seconds,
    SecondsOrZero,
    Section,
    conflict,
    no_repeats,
)

KIB: Final = 1024
MIB: Final = 1024 * KIB
MIN_WINDOW: Final = 2**16 - 1
"""The window that every connection begins with (RFC 9113, 6.9.2); it cannot be made smaller."""
MAX_WINDOW: Final = 2**31 - 1
"""RFC 9113, 6.9.1."""
MAX_MESSAGE_BYTES: Final = MAX_WINDOW - 64 * KIB
"""A message that is received has to fit into its stream's window; protobuf has none of 2 GiB anyway."""
MAX_SOCKET_PATH_BYTES: Final = 107
"""Linux's `sun_path`, without the NUL at its end."""


def _socket_path(value: str) -> str:
    length = len(value.encode("utf-8", "surrogatepass"))
    if length > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"a unix socket's path has at most {MAX_SOCKET_PATH_BYTES} bytes, got {length}")
    return value


SocketPath = Annotated[LocalPath, AfterValidator(_socket_path)]
Encodings = Annotated[tuple[Literal["gzip", "deflate"], ...], Field(strict=False), AfterValidator(no_repeats)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Window = Annotated[int, Field(ge=MIN_WINDOW, le=MAX_WINDOW)]


class ServerSection(Section):
    """The gRPC server: where it listens, for how long, and how much it takes on."""

    unix_socket: SocketPath | None = None
    """Path of a unix socket to listen on, in addition to host and port. A stale file is replaced."""
    reuse_port: bool = False
    """Whether other processes may listen on the same port (SO_REUSEPORT); the kernel shares the
    connections out."""
    drain_seconds: SecondsOrZero = 30.0
    """Seconds: how long calls in flight may take to finish after SIGTERM or SIGINT."""
    max_connections: Count = 1024
    """Connections at a time; a further one waits in the listener's queue."""
    max_connections_per_address: Count | None = None
    """Connections at a time from one address; a further one is closed at once. None: no limit; 256 is
    advised where no proxy is in front."""
    max_in_flight: Count | None = None
    """Calls in flight of all connections together; a further one is answered RESOURCE_EXHAUSTED. None:
    no limit."""
    max_in_flight_bytes: Bytes = 256 * MIB
    """Bytes of requests that are held at a time; a call beyond is answered RESOURCE_EXHAUSTED."""
    max_receive_bytes: Annotated[int, Field(ge=1, le=MAX_MESSAGE_BYTES)] = 4 * MIB
    """Bytes of a request, after decompression; a larger one is answered RESOURCE_EXHAUSTED."""
    max_send_bytes: Annotated[int, Field(ge=1, le=MAX_WINDOW)] = 64 * MIB
    """Bytes of an answer; instead of a larger one RESOURCE_EXHAUSTED is sent."""
    max_header_bytes: Annotated[int, Field(ge=1, le=MAX_WINDOW)] = 16 * KIB
    """Bytes of a call's metadata as HTTP/2 counts them; a call with more is answered
    RESOURCE_EXHAUSTED."""
    max_header_fields: Count = 100
    """Fields of a call's metadata; a call with more is answered RESOURCE_EXHAUSTED."""
    compression: Encodings = ("gzip", "deflate")
    """Encodings of messages that are accepted and offered. An answer is compressed as its request was,
    if at all. Empty: none."""
    compression_min_bytes: Annotated[int, Field(ge=0)] = 1024
    """Bytes below which an answer goes as it is."""
    handshake_seconds: Seconds = 10.0
    """Seconds for the TLS handshake, for the first frames, and for the acknowledgement of ours, each."""
    idle_seconds: Seconds = 900.0
    """Seconds without a byte from the client, and without a call, after which a connection is drained."""
    keepalive_seconds: Seconds = 7200.0
    """Seconds of silence after which a connection is asked for a sign of life (PING)."""
    keepalive_timeout_seconds: Seconds = 20.0
    """Seconds without an answer to that after which the connection is closed."""
    max_connection_age_seconds: Seconds | None = None
    """Seconds after which a connection is drained, give or take a tenth. None: no limit; 1800 is advised
    behind a load balancer that shares connections out."""
    max_connection_age_grace_seconds: SecondsOrZero = 30.0
    """Seconds that calls in flight have on a connection that is drained for its age or idleness."""
    reflection: bool = True
    """Whether clients can ask which services there are and what their messages look like (gRPC server
    reflection)."""


class Http2Section(Section):
    """Limits of the transport that are no notion of gRPC. A client that is beyond one from
    `max_continuation_frames` on loses its connection (GOAWAY ENHANCE_YOUR_CALM); the defaults do not
    concern well-behaved ones."""

    stream_window_bytes: Window | None = None
    """Bytes that a client may send of a call before a message of it is taken. None:
    `server.max_receive_bytes` and 64 KiB, so that every message fits."""
    connection_window_bytes: Window = 16 * MIB
    """Bytes that a client may send on a connection before they are received."""
    max_frame_bytes: Annotated[int, Field(ge=2**14, le=2**24 - 1)] = MIB
    """Bytes of the largest frame that is accepted."""
    stream_send_buffer_bytes: Bytes = MIB
    """Bytes of a streamed answer that wait for the client before its handler has to wait."""
    connection_send_buffer_bytes: Bytes = 8 * MIB
    """Bytes that wait for the client's socket before nothing more is read of its connection, or for its
    windows before no further call is begun; beyond four times, answers are RESOURCE_EXHAUSTED."""
    write_stall_seconds: Seconds = 30.0
    """Seconds in which a client takes nothing of what waits for it, after which it is dropped."""
    max_continuation_frames: Count = 8
    """CONTINUATION frames of a header block."""
    max_settings_entries: Count = 32
    """Entries of a SETTINGS frame."""
    max_settings_frames: Count = 20
    """SETTINGS frames in ten seconds."""
    max_queued_control_frames: Count = 1000
    """Answers to PING and SETTINGS that the client has not taken."""
    max_empty_frames: Count = 100
    """DATA frames in ten seconds that hold nothing and end nothing."""
    ping_strikes: Annotated[int, Field(ge=0)] = 2
    """PINGs that may come too early."""
    ping_min_seconds: SecondsOrZero = 300.0
    """Seconds between two PINGs with no call between them; an earlier one is too early."""
    reset_burst: Count = 1000
    """Calls that a client may cancel at once."""
    reset_rate: Rate = 33.0
    """Calls that a client may cancel a second, after the burst."""
    glitch_burst: Count = 100
    """Streams at once that a client may make the server reset by mistakes."""
    glitch_rate: Rate = 10.0
    """The same a second, after the burst."""


class TlsSection(Section):
    """TLS of the gRPC port: certificate and key, or neither for plain text."""

    certificate: LocalPath | None = None
    """Path of the certificate chain in PEM; needs `key`."""
    key: LocalPath | None = None
    """Path of the certificate's private key in PEM, not encrypted; needs `certificate`."""
    client_ca: LocalPath | None = None
    """Path of the authorities, in PEM, of which every client has to show a certificate. None: clients
    show none."""
    client_names: Annotated[Names, Field(min_length=1)] | None = None
    """Clients that are let in: names in their certificates (subject alternative names: DNS, URI, IP
    address or mail), each as it stands there. None: every certificate of `client_ca`."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    """The oldest version of TLS that is spoken."""
    reload_seconds: Seconds = 60.0
    """Seconds after which these files and `auth.token_file` are read again; also on SIGHUP."""

    @field_validator("key")
    @classmethod
    def _both_or_none(cls, key: str | None, info: ValidationInfo) -> str | None:
        if "certificate" in info.data and (key is None) != (info.data["certificate"] is None):
            raise conflict("tls.certificate and tls.key are given both or not at all", "certificate")
        return key

    @field_validator("client_ca")
    @classmethod
    def _with_certificate(cls, client_ca: str | None, info: ValidationInfo) -> str | None:
        if client_ca is not None and info.data.get("certificate", "") is None:
            raise conflict("tls.client_ca needs tls.certificate and tls.key", "certificate")
        return client_ca

    @field_validator("client_names")
    @classmethod
    def _with_authority(cls, client_names: Names | None, info: ValidationInfo) -> Names | None:
        if client_names is not None and info.data.get("client_ca", "") is None:
            raise conflict("tls.client_names needs tls.client_ca", "client_ca")
        return client_names


class AuthSection(Section):
    """Who may call: bearer tokens. Without TLS they can be read by everyone on the way."""

    token_file: LocalPath | None = None
    """Path of the tokens, one a line, `#` begins a comment; read again as the certificates are. None: no
    token is asked for."""
    exempt: Names = ("grpc.health.v1.Health",)
    """Services that can be called without a token."""

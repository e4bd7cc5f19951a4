"""The service configuration: every key with its type, range, default and meaning.

The texts under the keys are their descriptions in the JSON Schema (`hushar schema service`), where
editors show them, and docs/configuration.md holds the same keys (a test compares). Types are strict:
no text is read as a number, no boolean as an integer; an integer does for a float. None is "not
given". Paths are kept as they are written; `hushar.config.loading` makes them absolute.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field

from hushar.config.log import LogSection
from hushar.config.metrics import AdminSection, MetricsSection
from hushar.config.plugin_settings import validate_plugin_settings
from hushar.config.schema import schema_of
from hushar.config.section import Bytes, Name, Names, Seconds, Section, Threads, Uri, Workers
from hushar.config.transport import AuthSection, Http2Section, ServerSection, TlsSection

__all__ = [
    "OPTIONS",
    "AdminSection",
    "AuthSection",
    "BatchingSection",
    "Http2Section",
    "LogSection",
    "MetricsSection",
    "ModelSection",
    "PluginsSection",
    "Section",
    "ServerSection",
    "ServiceConfiguration",
    "TlsSection",
    "service_schema",
    "validate_plugin_settings",
]

MAX_STREAMS = 2**31 - 1
"""The largest stream limit that peers agree on (RFC 9113, 6.5.2: an unsigned 32-bit setting)."""

OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "port_number": "--port",
        "host": "--host",
        "log_format": "--log-format",
        "log_level": "--log-level",
        "log.uri": "--log-uri",
        "log.workers": "--log-workers",
        "log.spool_dir": "--spool-dir",
        "metrics.sinks": "--metrics-sink",
        "metrics.workers": "--metrics-workers",
        "admin.port": "--admin-port",
    }
)
"""Dotted keys that have a command-line option of their own, and its name."""


def _sha256(value: str) -> str:
    if len(value) != 64 or not set(value.lower()) <= set("0123456789abcdef"):
        found = f"{len(value)} characters" if len(value) != 64 else "others among its 64 characters"
        raise ValueError(f"expected 64 hexadecimal digits, got {found}")
    return value.lower()


Sha256 = Annotated[str, AfterValidator(_sha256), Field(json_schema_extra={"pattern": "^[0-9A-Fa-f]{64}$"})]


class ModelSection(Section):
    """How the model is loaded and run."""

    runtime: Name = "onnxruntime"
    """Name of the model runtime; plugins bring further ones (`hushar plugins` lists them)."""
    output: Name | None = None
    """Name of the model's output that holds the scores. None: the first floating-point output."""
    providers: Names = ()
    """Execution providers of onnxruntime in order of preference. Empty: the CPU."""
    provider_options: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    """Options of the providers: name of the provider, then name of the option; values are strings."""
    optimization: Literal["none", "basic", "extended", "all"] = "all"
    """How far onnxruntime optimizes the model's graph when it is loaded."""
    session_config: Mapping[str, str] = Field(default_factory=dict)
    """Session configuration entries of onnxruntime; values are strings."""
    sha256: Sha256 | None = None
    """SHA-256 of the model file in hexadecimal. The server does not start with another file."""
    warmup: bool = True
    """Whether the model is run once before the server is ready, so that no call pays for the first run."""
    intra_op_threads: Threads | None = None
    """Threads within an operator; 0: the runtime's own choice. None: the processors that this process
    may use, by its affinity and its cgroup."""
    inter_op_threads: Threads = 1
    """Threads between operators; 0: the runtime's own choice."""
    arena_extend: Literal["same_as_requested", "next_power_of_two"] = "same_as_requested"
    """How the runtime's memory arena grows: by what is asked for, or by doubling."""


class BatchingSection(Section):
    """How waiting calls are joined into one matrix. A call never waits for another to arrive."""

    max_rows: Annotated[int, Field(ge=1)] = 1024
    """Rows of one run of the model: waiting calls are joined up to it, a call with more is cut."""
    max_call_rows: Annotated[int, Field(ge=1)] = 65536
    """Rows of a call; one with more is answered INVALID_ARGUMENT."""
    max_queue_rows: Annotated[int, Field(ge=1)] = 65536
    """Rows that may wait for their run. Above: RESOURCE_EXHAUSTED. A call that finds nothing waiting is
    always accepted."""
    max_queue_bytes: Bytes = 256 * 2**20
    """Bytes of the calls that may wait for their run. Above: RESOURCE_EXHAUSTED."""
    max_queue_seconds: Seconds = 1.0
    """Seconds that a call may be expected to wait: rows that wait times the measured time a row. Above it,
    or above what is left of the call's deadline: RESOURCE_EXHAUSTED."""
    inference_concurrency: Workers = 1
    """Runs of the model that may be under way at once, each in a worker thread of its own."""
    offload: Literal["auto", "always", "never"] = "auto"
    """Whether the model runs in a worker thread. "auto": by its measured time."""


class PluginsSection(Section):
    """Which plugins are loaded, and their own settings in sub-sections named after them."""

    model_config = ConfigDict(extra="allow")

    __pydantic_extra__: dict[str, dict[str, Any]] = Field(init=False)

    allow: Names | None = None
    """Names of the only plugins that are loaded. None: all that are installed."""
    block: Names = ()
    """Names of plugins that are not loaded, also if `allow` names them."""

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """Plugin → its settings as they were given; see `validate_plugin_settings`."""
        return MappingProxyType(self.__pydantic_extra__)


class ServiceConfiguration(Section):
    """The service configuration of hushar."""

    model_path: Uri
    """Path or URI of the model file."""
    model_id: Name
    """Name of the model: stands in every log record and metric."""
    vectorization_instruction_path: Uri
    """Path or URI of the vectorization configuration."""
    port_number: Annotated[int, Field(ge=0, le=65535)] = 8279
    """TCP port of the gRPC server; 0 picks a free one and prints it."""
    connection_concurrency: Annotated[int, Field(ge=1, le=MAX_STREAMS)] = 50
    """Calls in flight a connection (HTTP/2's MAX_CONCURRENT_STREAMS)."""
    host: Name = "127.0.0.1"
    """Address that the server listens on; "0.0.0.0" or "::" for all of the machine."""
    kernel: Literal["auto", "cython", "reference"] = "auto"
    """Which implementation vectorizes: compiled, readable, or "auto": the fastest there is."""
    log_format: Literal["text", "json"] = "text"
    """Format of hushar's own messages on stderr."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important messages that are printed on stderr."""
    server: ServerSection = Field(default_factory=ServerSection)
    http2: Http2Section = Field(default_factory=Http2Section)
    tls: TlsSection = Field(default_factory=TlsSection)
    auth: AuthSection = Field(default_factory=AuthSection)
    model: ModelSection = Field(default_factory=ModelSection)
    batching: BatchingSection = Field(default_factory=BatchingSection)
    log: LogSection = Field(default_factory=LogSection)
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    admin: AdminSection = Field(default_factory=AdminSection)
    plugins: PluginsSection = Field(default_factory=PluginsSection)


def service_schema() -> dict[str, Any]:
    """The JSON Schema of the service configuration's file (`hushar schema service`)."""
    return schema_of(ServiceConfiguration, "hushar service configuration")

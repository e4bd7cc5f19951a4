"""A hushar plugin: the transformation `square_root`, the runtime `linear-json`, the log sink `jsonl`."""

from collections.abc import Mapping

from pydantic import BaseModel

from hushar.plugins import LogSinkFactory, RuntimeFactory, Transformation, hookimpl
from hushar_example.jsonl import Settings, make_sink
from hushar_example.linear import LinearRuntime
from hushar_example.square_root import SquareRoot


@hookimpl
def hushar_settings() -> type[BaseModel]:
    """What may stand in the section `plugins.example`."""
    return Settings


@hookimpl
def hushar_transformations() -> Mapping[str, type[Transformation]]:
    """By `type` in the vectorization configuration."""
    return {"square_root": SquareRoot}


@hookimpl
def hushar_runtimes() -> Mapping[str, RuntimeFactory]:
    """By name in `model.runtime`."""
    return {"linear-json": LinearRuntime}


@hookimpl
def hushar_log_sinks() -> Mapping[str, LogSinkFactory]:
    """By the scheme of `log.uri`."""
    return {"jsonl": make_sink}

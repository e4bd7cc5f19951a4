"""The engine in both ways: hushar.rpc as it was imported, and once more as if nothing were compiled."""

import enum
import importlib
import sys
from collections import OrderedDict, deque
from contextlib import contextmanager
from types import SimpleNamespace

import hushar
from hushar.rpc import compiled
from hushar.rpc.engine_state import EngineState
from hushar.rpc.streams import CallState, Stream

COMPILED = ("hushar.rpc._calls", "hushar.rpc._hpack")
NEEDS = "needs tool: the compiled engine (pip install -e . where a C compiler is)"


def is_compiled():
    """Whether the compiled twins are there."""
    return compiled.take_calls is not None


@contextmanager
def without_compiled():
    """Inside, hushar.rpc is imported anew, from its readable modules alone."""
    kept = {name: module for name, module in sys.modules.items() if _is_rpc(name)}
    package = sys.modules["hushar.rpc"]
    for name in kept:
        del sys.modules[name]
    sys.modules.update(dict.fromkeys(COMPILED))
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_rpc(name)]:
            del sys.modules[name]
        sys.modules.update(kept)
        hushar.rpc = package


def _is_rpc(name):
    return name == "hushar.rpc" or name.startswith("hushar.rpc.")


def engine_modules():
    """What a test needs of the engine, from whatever hushar.rpc is now."""
    names = ("calls", "compiled", "limits", "server_context", "server_engine")
    return SimpleNamespace(**{name: importlib.import_module(f"hushar.rpc.{name}") for name in names})


_LEFT_OUT = {
    # What both have the same, what is a function, what only one of them has.
    "context", "limits", "_decoder", "_on_output", "_handlers", "_fast_way", "_variations", "_heads",
}  # fmt: skip


def state_of(engine):
    """All that an engine keeps, as plain values that can be compared."""
    names = set(vars(engine)) | set(_slots(engine))
    state = {name: plain(getattr(engine, name)) for name in sorted(names - _LEFT_OUT)}
    # One piece may hold the answers of several calls.
    state["_out"] = b"".join(engine._out)
    state["_memo"] = list(engine._memo)
    state["_streams"] = {number: call_state(call) for number, call in engine._streams.items()}
    state["_changes"] = engine._decoder.changes
    if not engine._chunks:
        # Is set where bytes are kept.
        del state["_need"], state["_have"]
    budget = engine.context.budget
    state["budget"] = (budget.calls, budget.bytes, budget.refused_calls, budget.refused_bytes)
    answered, failed = engine.context.answered, engine.context.failed
    state["answered"] = sorted((_path(route), calls) for route, calls in answered.items())
    state["failed"] = sorted((_path(route), code.name, calls) for (route, code), calls in failed.items())
    return state


def _path(route):
    return "" if route is None else route.path


def call_state(call):
    """All that is kept of a call."""
    names = [name for name in _slots(call) if name != "connection"]
    return {name: plain(getattr(call, name)) for name in names}


def _slots(thing):
    """The names of the readable twin's slots: the compiled one has the same."""
    return [*Stream.__slots__, *CallState.__slots__] if hasattr(thing, "head") else EngineState.__slots__


def plain(value):
    """A value without the classes that the two ways have each for itself."""
    match value:
        case enum.Enum():
            return value.name
        case None | bool() | int() | float() | str() | bytes():
            return value
        case memoryview() | bytearray():
            return bytes(value)
        case list() | tuple() | deque():
            return [plain(item) for item in value]
        case set() | frozenset():
            return sorted(map(repr, map(plain, value)))
        case OrderedDict() | dict():
            return [(plain(key), plain(item)) for key, item in value.items()]
    name = type(value).__name__
    if name == "RawCall":
        return (name, value.id)
    if name == "Gathered":
        return (name, bytes(value))
    if name == "RequestHead":
        return (name, value.path, plain(value.fields), value.timeout)
    slots = [slot for base in type(value).__mro__ for slot in getattr(base, "__slots__", ())]
    return (name, [(slot, plain(getattr(value, slot))) for slot in slots])

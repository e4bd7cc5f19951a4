"""Compiled twins where they are built, the readable ones where not: the one place that chooses.

A twin does what its readable module says, and nothing else depends on which of them is used.
"""

try:
    from hushar.rpc._hpack import HeaderDecoder, RequestHead, Variations
except ImportError:
    from hushar.rpc.header_blocks import HeaderDecoder
    from hushar.rpc.request_head import RequestHead
    from hushar.rpc.variations import Variations

try:
    from hushar.rpc._calls import (
        CallState,
        EngineState,
        Gathered,
        fail_all,
        read_at_once,
        reply_all,
        reply_at_once,
        take_calls,
        take_complete,
    )
except ImportError:
    from hushar.rpc.engine_state import EngineState
    from hushar.rpc.fast_ways import (
        fail_all,
        read_at_once,
        reply_all,
        reply_at_once,
        take_calls,
        take_complete,
    )
    from hushar.rpc.messages import Gathered
    from hushar.rpc.streams import CallState

__all__ = [
    "CallState",
    "EngineState",
    "Gathered",
    "HeaderDecoder",
    "RequestHead",
    "Variations",
    "fail_all",
    "read_at_once",
    "reply_all",
    "reply_at_once",
    "take_calls",
    "take_complete",
]

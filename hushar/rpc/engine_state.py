"""What the fast ways in and out read and change of a server's connection; `_calls.pyx` has it compiled."""


class EngineState:
    """The places of these fields alone: the classes of the engine set them, and say what they are."""

    __slots__ = (
        "_active",
        "_block",
        "_chunks",
        "_courtesies",
        "_credit",
        "_credit_at",
        "_data_sent",
        "_decoder",
        "_events",
        "_fast_bytes",
        "_lingering",
        "_max_frame",
        "_memo",
        "_memo_changes",
        "_need",
        "_now",
        "_on_output",
        "_out",
        "_peer_window",
        "_ready",
        "_receive_window",
        "_recently_closed",
        "_refusing_after",
        "_settings_seen",
        "_skip",
        "_stream_window",
        "_streams",
        "_streams_seen",
        "context",
        "dirty",
        "failed",
        "last_stream_id",
        "limits",
        "peer_went_away",
        "send_window",
        "timed",
    )

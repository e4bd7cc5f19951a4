"""What a plugin's tests need: a conformance check for every interface, and fakes.

    from hushar.testing import check_transformation

    def test_conforms() -> None:
        check_transformation(SquareRoot, {"default_val": [0.0]}, values={Element.FLOAT: [0.0, 2.25]})

A check is a plain function (for sinks and storages a coroutine function, run under trio) that returns
None, or raises an AssertionError whose text says which rule of the interface is broken. It works in
any test suite; nothing of pytest is imported here.

For plugins that talk to AWS there is a fake of it, and a proxy that makes it fail: docs/local-testing.md.
"""

from hushar.testing.aws import MotoServer, aws_environment
from hushar.testing.fakes import MemoryLogSink, MemoryMetricSink, MemoryStorage, log_record, segment
from hushar.testing.proxy import FaultyProxy
from hushar.testing.runtimes import check_runtime
from hushar.testing.sinks import check_log_sink, check_metric_sink
from hushar.testing.storages import check_storage
from hushar.testing.transformations import check_transformation

__all__ = [
    "FaultyProxy",
    "MemoryLogSink",
    "MemoryMetricSink",
    "MemoryStorage",
    "MotoServer",
    "aws_environment",
    "check_log_sink",
    "check_metric_sink",
    "check_runtime",
    "check_storage",
    "check_transformation",
    "log_record",
    "segment",
]

"""The books at the admin port while things go wrong: at every moment they balance, and they are right."""

import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from promisekit.calling import Load, eventually
from promisekit.stores import missing

from hushar.testing.faults import ACCESS_DENIED, INTERNAL_ERROR

MIB = 1 << 20


def fetch(url):
    """(status, text)."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Books:
    """One scrape."""

    def __init__(self, url):
        status, text = fetch(f"{url}/metrics")
        assert status == 200
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def total(self, name, **labels):
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def records(self, outcome):
        return self.total("hushar_log_records_total", outcome=outcome)

    def balance(self):
        parts = [self.records(outcome) for outcome in ("delivered", "dropped", "dead_lettered")]
        return self.records("accepted") - sum(parts) - self.total("hushar_log_spooled_records")


def test_the_books_balance_at_every_moment_and_health_does_not_hang_on_the_sink(serve, aws):
    log = {"acknowledge": "spooled", "spool_max_bytes": MIB, "workers": 2}
    service = serve(aws.uri, log=log, admin={"port": 0})
    with Load(lambda: service.address, ballast="b" * 2000) as load:

        def books():
            found = Books(service.admin)
            assert found.balance() == 0
            assert fetch(f"{service.admin}/healthz")[0] == fetch(f"{service.admin}/readyz")[0] == 200
            return found

        eventually(lambda: books().records("delivered"), "a delivery")
        assert books().total("hushar_sink_up", sink=aws.uri) == 1
        for fault in (INTERNAL_ERROR, ACCESS_DENIED):
            errors = books().total("hushar_sink_errors_total", sink=aws.uri)
            with aws.proxy.inject(fault, operation="PutObject"):
                eventually(lambda: books().total("hushar_sink_up", sink=aws.uri) == 0, "a sink that is down")
                lost = books().records("dropped")
                eventually(lambda lost=lost: books().records("dropped") > lost, "a spool that is full")
                assert books().total("hushar_log_spool_bytes") <= MIB
                assert books().total("hushar_sink_errors_total", sink=aws.uri) > errors
            eventually(lambda: books().total("hushar_sink_up", sink=aws.uri) == 1, "a sink that is up again")
        load.stop()
        last = books()
    assert service.terminate() == 0
    assert load.failed == []
    assert last.records("accepted") == last.total("grpc_server_handled_total", grpc_code="OK")
    assert last.records("accepted") == len(load.answered)
    dropped = last.total("hushar_log_records_total", outcome="dropped", reason="spool_full")
    assert dropped == service.books["dropped"] == len(missing(load.answered, aws.store.ids()))

"""One `hushar serve` after the other on the same configuration and spool, as an orchestrator starts them."""

import re

BOOKS = re.compile(
    r"log: (?P<accepted>\d+) records accepted = (?P<delivered>\d+) delivered \+ (?P<spooled>\d+) spooled"
    r" \+ (?P<dropped>\d+) dropped \+ (?P<dead_lettered>\d+) dead-lettered"
)


class Service:
    """A server that is started, killed and started again. `address` is None while it does not run."""

    def __init__(self, servers, workspace, forker, model, uri):
        self._servers = servers
        self._forker = forker
        self._model = model
        self._uri = uri
        self._server = None
        self._said = []
        self.workspace = workspace
        self.address = None

    @property
    def spool(self):
        return self.workspace.path("spool")

    @property
    def books(self):
        """What the last life to end properly has said of its records, as numbers."""
        found = [match for line in self.lines if (match := BOOKS.search(line))]
        assert found, self.lines
        return {name: int(number) for name, number in found[-1].groupdict().items()}

    def segments(self, folder=""):
        """The files of the spool with records in them, or of a folder of it."""
        return [path for path in self.spool.joinpath(folder).rglob("*.pb*") if path.stat().st_size]

    @property
    def process(self):
        return self._server.process

    @property
    def lines(self):
        """What all its lives have said on standard error."""
        return [*self._said, *(self._server.lines if self._server else [])]

    def configure(self, *, log=None, **settings):
        """Write its configuration: small segments, retries that take no time, and what is given."""
        section = {
            "uri": self._uri,
            "spool_dir": "spool",
            "rotate_bytes": 65536,
            "rotate_seconds": 1,
            "retry_min_seconds": 0.02,
            "retry_max_seconds": 0.2,
            "refused_retry_seconds": 0.2,
            "spool_min_free_bytes": 0,
            **(log or {}),
        }
        aws = {"connect_seconds": 0.5, "read_seconds": 0.5}
        self.workspace.configure(self._model, None, **{"log": section, "plugins": {"aws": aws}, **settings})

    def start(self):
        self._server = self._servers.start(self.workspace)
        self.address = self._server.address
        return self

    @property
    def admin(self):
        """URL of the admin port; the server listens already, so it has been said."""
        return self._server.line(r"admin: (http://\S+)")[1]

    def kill(self):
        """SIGKILL."""
        self.address = None
        self._server.kill()
        self._ended()

    def terminate(self):
        """SIGTERM, and the exit status."""
        self.address = None
        status = self._server.terminate()
        self._ended()
        return status

    def _ended(self):
        self._said += self._server.lines
        self._server = None

    def run(self, *arguments):
        """`hushar ARGUMENTS…` in the workspace, waited for."""
        return self.workspace.fork(self._forker, *arguments)


def make_service(servers, forker, model, uri, **settings):
    """A Service that serves `model` and logs to `uri`, configured and not started."""
    service = Service(servers, servers.workspace(), forker, model, uri)
    service.configure(**settings)
    return service

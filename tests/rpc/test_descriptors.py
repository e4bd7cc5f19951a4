"""How many files may be open: as many as the system allows, and enough for the connections."""

import resource

import pytest

from hushar.rpc import Server

INFINITE = resource.RLIM_INFINITY


class System:
    """The limits of one process, on a system that refuses a soft limit above `most`."""

    def __init__(self, soft, hard, most):
        self.limits, self.most = (soft, hard), most

    def getrlimit(self, which):
        return self.limits

    def setrlimit(self, which, limits):
        soft = limits[0]
        if soft == INFINITE or soft > self.most:
            raise ValueError
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "most", "set_to", "warned"),
    [
        (256, 4096, 4096, 4096, False),
        (256, INFINITE, 10_240, 1_064, False),
        (256, INFINITE, 512, 256, True),
        (2_000, INFINITE, 10_240, 2_000, False),
        (512, 512, 512, 512, True),
    ],
    ids=["raised to the hard one", "macOS", "not enough", "enough before", "nothing to raise"],
)
def test_the_limit_is_raised(monkeypatch, caplog, soft, hard, most, set_to, warned):
    system = System(soft, hard, most)
    monkeypatch.setattr(resource, "getrlimit", system.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", system.setrlimit)
    Server(port=0, max_connections=1_000)._raise_descriptors()
    assert system.limits == (set_to, hard)
    assert ("files may be open" in caplog.text) == warned

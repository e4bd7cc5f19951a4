"""On the loopback address: no page of somebody else's reads it by giving itself this machine's address."""

import pytest

from hushar.admin.hosts import is_local

LOCAL = [
    "127.0.0.1",
    "127.0.0.1:9102",
    "localhost",
    "LocalHost:80",
    "localhost.",
    "a.localhost:1",
    "[::1]",
    "[::1]:9102",
    "10.1.2.3:80",
    "[fe80::1]",
]
OTHERS = [
    "evil.example",
    "evil.example:9102",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "mylocalhost",
    "",
    "127.0.0.1:x",
    "127.0.0.1:80:80",
    "[::1",
    "::1]:80",
    "a@127.0.0.1",
    "127.0.0.1/",
    "1",
    "\xff",
    "[]",
    "[evil]",
]


@pytest.mark.parametrize("host", LOCAL)
def test_addresses_and_localhost_are_nobodys_to_make_up(host):
    assert is_local(host.encode())


@pytest.mark.parametrize("host", OTHERS)
def test_any_other_name_is(host):
    assert not is_local(host.encode("latin-1"))


@pytest.mark.parametrize(
    "path", ["/", "/status.json", "/metrics", "/healthz", "/readyz", "/metrics/", "/none"]
)
async def test_nothing_is_told_under_another_name(asked_locally, path):
    asked_locally.ready()
    said = await asked_locally.talk(
        b"GET %s HTTP/1.1\r\nHost: evil.example:80\r\nConnection: close\r\n\r\n" % path.encode()
    )
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 421 ")
    assert body == b"this port is for those who call it localhost, or by an address\n"
    assert b"evil" not in said


async def test_an_absolute_target_is_no_way_around(asked_locally):
    said = await asked_locally.talk(
        b"GET http://127.0.0.1/healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    )
    assert said.startswith(b"HTTP/1.1 421 ")


async def test_its_own_names_are_answered(asked_locally):
    for host in (b"127.0.0.1:80", b"localhost:9102", b"[::1]:1"):
        said = await asked_locally.talk(
            b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
        )
        assert said.endswith(b"ok\n")
    assert (await asked_locally.talk(b"GET /healthz HTTP/1.0\r\n\r\n")).endswith(b"ok\n")


async def test_where_it_is_open_to_others_they_call_it_what_they_like(asked):
    said = await asked.talk(b"GET /healthz HTTP/1.1\r\nHost: hushar.svc:9102\r\nConnection: close\r\n\r\n")
    assert said.endswith(b"ok\n")

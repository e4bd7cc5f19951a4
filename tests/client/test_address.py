import pytest

from hushar.client.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8279", "127.0.0.1", 8279),
        ("scores.example:1", "scores.example", 1),
        ("[::1]:65535", "::1", 65535),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
    ],
)
def test_an_address_is_read_and_written_the_same(text, host, port):
    address = parse_address(text)
    assert address == Address(host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        ":8279",
        "localhost:",
        "localhost:http",
        "localhost:-1",
        "a b:1",
        "[]:1",
        "http://localhost:1",
        "h:١",
    ],
)
def test_what_is_no_address_is_named(text):
    with pytest.raises(ValueError, match="is not an address: expected HOST:PORT") as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


def test_an_ipv6_address_needs_its_brackets():
    with pytest.raises(ValueError, match="stands in brackets"):
        parse_address("::1:8279")


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_that_cannot_be_connected_to_is_refused(port):
    with pytest.raises(ValueError, match="the port must be from 1 to 65535"):
        parse_address(f"localhost:{port}")

"""The server that is attacked: a process of its own, so that its memory and descriptors can be counted."""

import ssl
import sys

import purerpc
import trio

from hushar.rpc import Server


class RawMessage:
    """A message that is its bytes."""

    def __init__(self, data=b""):
        self.data = data

    def ParseFromString(self, data):
        self.data = data

    def SerializeToString(self):
        return self.data


def echo(calls):
    for call in calls:
        call.reply(call.message)


async def echo_unary(message):
    return message


async def echo_stream(messages):
    async for message in messages:
        yield message


async def wait(message):
    await trio.sleep_forever()


def tls_context(certificate, key):
    """None without the files."""
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def main():
    service = purerpc.Service("test.Ordinary")
    unary = purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, RawMessage, RawMessage)
    both = purerpc.RPCSignature(purerpc.Cardinality.STREAM_STREAM, RawMessage, RawMessage)
    service.add_method("Echo", echo_unary, unary)
    service.add_method("Wait", wait, unary)
    service.add_method("Stream", echo_stream, both)
    settings = dict(argument.split("=") for argument in sys.argv[1:])
    files = settings.pop("certificate", None), settings.pop("key", None)
    server = Server(
        0,
        tls_context(*files),
        require_alpn=files[0] is not None,
        handshake_seconds=2,
        write_stall_seconds=3,
        **{name: int(value) for name, value in settings.items()},
    )
    server.add_service(service)
    server.add_raw_unary("/test.Service/Echo", echo)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve_async)
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()


trio.run(main)

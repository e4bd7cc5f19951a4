"""hushar.rpc.Server with an echo method: registered raw, or as an ordinary purerpc service."""

import purerpc
import trio
from echo import METHOD, PATH, SERVICE, Bytes, arguments, ready

from hushar.rpc import RawCall, Server, reply_all

MAX_CONNECTIONS = 15_000


async def echo(message: Bytes) -> Bytes:
    """The message."""
    return message


def answer(calls: list[RawCall]) -> None:
    """Each with its own message."""
    reply_all(calls, [call.message for call in calls])


async def main() -> None:
    """Serve until killed."""
    options = arguments("hushar.rpc.Server.", "raw", "ordinary")
    server = Server(options.port, max_connections=MAX_CONNECTIONS)
    if options.kind == "raw":
        server.add_raw_unary(PATH, answer)
    else:
        service = purerpc.Service(SERVICE)
        service.add_method(METHOD, echo, purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, Bytes, Bytes))
        server.add_service(service)
    async with trio.open_nursery() as nursery:
        ready(await nursery.start(server.serve_async))


if __name__ == "__main__":
    trio.run(main)

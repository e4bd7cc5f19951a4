"""Stock purerpc on trio with an echo method."""

import purerpc
import trio
from echo import METHOD, SERVICE, Bytes, arguments, ready


async def echo(message: Bytes) -> Bytes:
    """The message."""
    return message


async def main() -> None:
    """Serve until killed."""
    server = purerpc.Server(arguments("Stock purerpc.").port)
    service = purerpc.Service(SERVICE)
    service.add_method(METHOD, echo, purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, Bytes, Bytes))
    server.add_service(service)
    async with trio.open_nursery() as nursery:
        ready(await nursery.start(server.serve_async))


if __name__ == "__main__":
    trio.run(main)

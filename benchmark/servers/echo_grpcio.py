"""grpcio (gRPC's C core) with an echo method: on asyncio, or on threads."""

import asyncio
from concurrent import futures

import grpc
from echo import METHOD, SERVICE, arguments, ready

THREADS = 10


def echo(request: bytes, _context: object) -> bytes:
    """The message."""
    return request


async def echo_async(request: bytes, _context: object) -> bytes:
    """The message."""
    return request


def handlers(method: object) -> tuple[grpc.GenericRpcHandler, ...]:
    """The service with that method."""
    unary = grpc.unary_unary_rpc_method_handler(method)
    return (grpc.method_handlers_generic_handler(SERVICE, {METHOD: unary}),)


async def serve_async(port: int) -> None:
    """Serve on asyncio until killed."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers(echo_async))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    ready(bound)
    await server.wait_for_termination()


def serve_threads(port: int) -> None:
    """Serve on a pool of threads until killed."""
    server = grpc.server(futures.ThreadPoolExecutor(THREADS))
    server.add_generic_rpc_handlers(handlers(echo))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    ready(bound)
    server.wait_for_termination()


if __name__ == "__main__":
    options = arguments("grpcio.", "aio", "threads")
    if options.kind == "aio":
        asyncio.run(serve_async(options.port))
    else:
        serve_threads(options.port)

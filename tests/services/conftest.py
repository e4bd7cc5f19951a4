"""A server on loopback with some services, and grpcio as its client."""

import threading

import grpc
import pytest
import trio

from hushar.rpc import Server

PATIENCE_SECONDS = 10


class Remote:
    """The server as a client sees it; every method blocks only a thread."""

    def __init__(self, server, port):
        self.server = server
        self.address = f"127.0.0.1:{port}"

    async def unary(self, path, request, answer_type):
        """The answer, or grpcio's error."""

        def call():
            with grpc.insecure_channel(self.address) as channel:
                method = channel.unary_unary(
                    path,
                    request_serializer=type(request).SerializeToString,
                    response_deserializer=answer_type.FromString,
                )
                return method(request, timeout=PATIENCE_SECONDS)

        return await trio.to_thread.run_sync(call)

    async def stream(self, path, requests, answer_type, *, on_answer=None, half_close=True):
        """All answers and the status that they end with; `on_answer(answers)` in the loop after each.

        Without `half_close` the client could still send something until the server ends the call.
        """
        token = trio.lowlevel.current_trio_token()
        over = threading.Event()

        def sent():
            yield from requests
            if not half_close:
                over.wait(PATIENCE_SECONDS)

        def call():
            answers = []
            with grpc.insecure_channel(self.address) as channel:
                method = channel.stream_stream(
                    path,
                    request_serializer=lambda request: request.SerializeToString(),
                    response_deserializer=answer_type.FromString,
                )
                stream = method(sent(), timeout=PATIENCE_SECONDS)
                try:
                    for answer in stream:
                        answers.append(answer)
                        if on_answer is not None:
                            trio.from_thread.run_sync(on_answer, list(answers), trio_token=token)
                except grpc.RpcError as error:
                    return answers, error.code().name
                finally:
                    over.set()
            return answers, "OK"

        return await trio.to_thread.run_sync(call)


@pytest.fixture
async def serve(nursery):
    """serve(services…): a Remote."""

    async def start(*services):
        server = Server(0)
        for service in services:
            server.add_service(service)
        return Remote(server, await nursery.start(server.serve_async))

    return start

"""Stock purerpc on trio and onnxruntime."""

import trio
from handler import Handler, arguments, ready
from purerpc import Server

from hushar.proto.service_grpc import HusharServicer
from hushar.proto.structs_pb2 import InferenceRequest, InferenceResponse


class Servicer(HusharServicer):
    """hushar.Hushar."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def InferenceService(  # noqa: N802 - the method's name on the wire
        self, input_message: InferenceRequest
    ) -> InferenceResponse:
        """Score one call."""
        return self._handler.score(input_message)


async def main() -> None:
    """Serve until killed."""
    service, port = arguments("Stock purerpc on trio and onnxruntime.")
    server = Server(port)
    server.add_service(Servicer(Handler(service)).service)
    async with trio.open_nursery() as nursery:
        ready(await nursery.start(server.serve_async))


if __name__ == "__main__":
    trio.run(main)

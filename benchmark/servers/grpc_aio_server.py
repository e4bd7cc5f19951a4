"""grpc.aio (gRPC's C core) and onnxruntime."""

import asyncio

import grpc
from handler import MAX_MESSAGE_BYTES, Handler, arguments, ready

from hushar.proto.structs_pb2 import InferenceRequest, InferenceResponse


async def main() -> None:
    """Serve until killed."""
    service, port = arguments("grpc.aio (gRPC's C core) and onnxruntime.")
    handler = Handler(service)

    async def inference_service(request: InferenceRequest, _context: object) -> InferenceResponse:
        return handler.score(request)

    method = grpc.unary_unary_rpc_method_handler(
        inference_service,
        request_deserializer=InferenceRequest.FromString,
        response_serializer=InferenceResponse.SerializeToString,
    )
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("hushar.Hushar", {"InferenceService": method}),)
    )
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    ready(bound)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())

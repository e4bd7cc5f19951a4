"""grpc.testing.TestService as an ordinary purerpc service on hushar.rpc.Server; a script.

    python tests/interop/testservice.py --port 0 [--certificate FILE --key FILE [--client-ca FILE]]

It does what gRPC's interop description asks of a server. Whether a single message came compressed is
nothing that a handler can see: `expect_compressed` is held against the call's `grpc-encoding`, and
answers are compressed as requests were (docs/rpc.md), whatever `response_compressed` says.
"""

import argparse
import ast
import ssl
import sys

import probe
import purerpc
import testmessages as tm
import trio
from purerpc import Cardinality, RpcFailedError, RPCSignature, Status, StatusCode

from hushar.rpc import Server

NAME = "grpc.testing.TestService"
ECHO_INITIAL = "x-grpc-test-echo-initial"
ECHO_TRAILING = "x-grpc-test-echo-trailing-bin"


def echo_metadata(request):
    """Send the two fields of the custom_metadata case back where they belong."""
    metadata = request.custom_metadata
    request.set_leading_metadata([pair for pair in metadata if pair[0] == ECHO_INITIAL])
    request.set_trailing_metadata([pair for pair in metadata if pair[0] == ECHO_TRAILING])


def echo_status(message):
    """End the call with the status that the request asks for, if it asks for one."""
    asked = message.response_status
    if asked.code:
        raise RpcFailedError(Status(StatusCode(asked.code), asked.message))


def check_compression(message, request):
    """INVALID_ARGUMENT for a request that ought to have been compressed and was not."""
    encoding = request.message_encoding
    if message.expect_compressed.value and encoding in (None, "identity"):
        raise purerpc.InvalidArgumentError("the request ought to be compressed")


async def empty_call(message, request):
    echo_metadata(request)
    return tm.Empty()


async def unary_call(message, request):
    echo_metadata(request)
    check_compression(message, request)
    echo_status(message)
    return tm.SimpleResponse(payload={"body": bytes(message.response_size)})


async def streaming_input_call(messages, request):
    size = 0
    async for message in messages:
        check_compression(message, request)
        size += len(message.payload.body)
    return tm.StreamingInputCallResponse(aggregated_payload_size=size)


async def outputs(message):
    """The answers that one request of a streaming method asks for."""
    echo_status(message)
    for parameters in message.response_parameters:
        if parameters.interval_us:
            await trio.sleep(parameters.interval_us / 1e6)
        yield tm.StreamingOutputCallResponse(payload={"body": bytes(parameters.size)})


async def streaming_output_call(message, request):
    echo_metadata(request)
    async for answer in outputs(message):
        yield answer


async def full_duplex_call(messages, request):
    echo_metadata(request)
    async for message in messages:
        async for answer in outputs(message):
            yield answer


async def half_duplex_call(messages, request):
    echo_metadata(request)
    for message in [message async for message in messages]:
        async for answer in outputs(message):
            yield answer


def test_service():
    """UnimplementedCall is left out: that is a case of its own."""
    service = purerpc.Service(NAME)

    def add(name, method, cardinality, request_type, response_type):
        service.add_method(name, method, RPCSignature(cardinality, request_type, response_type))

    add("EmptyCall", empty_call, Cardinality.UNARY_UNARY, tm.Empty, tm.Empty)
    add("UnaryCall", unary_call, Cardinality.UNARY_UNARY, tm.SimpleRequest, tm.SimpleResponse)
    add(
        "StreamingInputCall",
        streaming_input_call,
        Cardinality.STREAM_UNARY,
        tm.StreamingInputCallRequest,
        tm.StreamingInputCallResponse,
    )
    streamed = tm.StreamingOutputCallRequest, tm.StreamingOutputCallResponse
    add("StreamingOutputCall", streaming_output_call, Cardinality.UNARY_STREAM, *streamed)
    add("FullDuplexCall", full_duplex_call, Cardinality.STREAM_STREAM, *streamed)
    add("HalfDuplexCall", half_duplex_call, Cardinality.STREAM_STREAM, *streamed)
    return service


def ssl_context(options):
    """None without a certificate; client certificates are required where there is a CA for them."""
    if options.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate, options.key)
    if options.client_ca is not None:
        context.load_verify_locations(options.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def main(options):
    """Serve until killed."""
    settings = {name: ast.literal_eval(value) for name, _, value in (s.partition("=") for s in options.set)}
    tls = ssl_context(options)
    server = Server(options.port, tls, require_alpn=tls is not None, **settings)
    server.add_service(test_service())
    probe.add_to(server)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(server.serve_async)
        sys.stderr.write(f"listening on 127.0.0.1:{port}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--client-ca")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of Server(…)")
    trio.run(main, parser.parse_args())

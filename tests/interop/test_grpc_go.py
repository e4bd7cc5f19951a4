"""gRPC's interop cases, by grpc-go's own client."""

import pytest

CASES = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "rpc_soak",
    "channel_soak",
]


@pytest.fixture(scope="session")
def interop_client(tool, run_tool):
    """The client; its name is a common one, so what it says of itself is looked at."""
    tool("client")
    if "-test_case" not in run_tool("client", "-help").stderr:
        pytest.skip("needs tool: client (go install google.golang.org/grpc/interop/client@latest)")


@pytest.mark.parametrize("case", CASES)
def test_interop_case(interop_client, run_tool, either, case):
    security = []
    if either.certificates is not None:
        security = ["-use_tls", "-use_test_ca", f"-ca_file={either.certificates.authority}"]
    result = run_tool(
        "client",
        "-server_host=127.0.0.1",
        f"-server_port={either.port}",
        f"-test_case={case}",
        *security,
        # On a busy machine a call of 271,828 bytes may take its time; what counts is that it is answered.
        "-soak_per_iteration_max_acceptable_latency_ms=10000",
        "-soak_overall_timeout_seconds=40",
    )
    assert result.returncode == 0, result.stdout + result.stderr

"""The tools that operators use, against `hushar serve --demo`: grpcurl, ghz, grpc-health-probe, h2load."""

import json
import re

import pytest

SERVICE = "hushar.Hushar"
METHOD = "hushar.Hushar/InferenceService"
ROW = {"row_id": "r", "features": {"island": {"string_value": "Biscoe"}}}
REQUEST = json.dumps({"request_id": "by a tool", "inputs": [ROW]})


@pytest.fixture
def grpcurl(run_tool, hushar_served):
    """grpcurl(*arguments): its standard output; it must succeed."""
    certificates = hushar_served.certificates
    security = ["-plaintext"] if certificates is None else ["-cacert", certificates.authority]

    def run(*arguments, before=()):
        result = run_tool("grpcurl", *security, *before, hushar_served.address, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


class TestGrpcurl:
    def test_list_names_the_services(self, grpcurl):
        assert {SERVICE, "grpc.health.v1.Health"} <= set(grpcurl("list").split())

    def test_list_of_a_service_names_its_methods(self, grpcurl):
        assert grpcurl("list", SERVICE).split() == ["hushar.Hushar.InferenceService"]

    def test_describe_shows_a_service_and_its_messages(self, grpcurl):
        assert "rpc InferenceService" in grpcurl("describe", SERVICE)
        assert "message InferenceRequest" in grpcurl("describe", "hushar.InferenceRequest")

    def test_a_call_needs_no_proto_file(self, grpcurl):
        answer = json.loads(grpcurl(METHOD, before=("-d", REQUEST)))
        assert "by a tool" in answer.values()
        assert [len(row["scores"]) for row in answer["outputs"]] == [3]

    def test_a_failed_call_shows_its_status(self, run_tool, hushar_served, grpcurl):
        result = run_tool(
            "grpcurl",
            *(["-plaintext"] if hushar_served.certificates is None else ["-insecure"]),
            *("-d", '{"service": "nobody"}', hushar_served.address, "grpc.health.v1.Health/Check"),
        )
        assert "NotFound" in result.stderr

    def test_health_is_a_service_like_any_other(self, grpcurl):
        assert json.loads(grpcurl("grpc.health.v1.Health/Check")) == {"status": "SERVING"}


def test_ghz_gets_an_answer_to_every_call(run_tool, hushar_served):
    certificates = hushar_served.certificates
    security = ["--insecure"] if certificates is None else ["--cacert", certificates.authority]
    result = run_tool(
        "ghz",
        *security,
        *("--call", METHOD, "-d", REQUEST, "-n", "500", "-c", "10", "--connections", "2", "-O", "json"),
        hushar_served.address,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["statusCodeDistribution"] == {"OK": 500}


@pytest.mark.parametrize(("service", "status"), [("", 0), (SERVICE, 0), ("nobody", 3)])
def test_the_health_probe_knows_who_serves(run_tool, hushar_served, service, status):
    certificates = hushar_served.certificates
    security = [] if certificates is None else ["-tls", f"-tls-ca-cert={certificates.authority}"]
    result = run_tool(
        "grpc-health-probe",
        f"-addr={hushar_served.address}",
        f"-service={service}",
        "-rpc-timeout=10s",
        *security,
    )
    assert result.returncode == status, result.stderr


def test_h2load_with_a_hundred_connections(run_tool, either, tmp_path):
    """One call in flight on each, as most real clients are. h2load does not look at grpc-status: the
    answers' bytes are counted, and those of an error would be none."""
    request = tmp_path / "request.grpc"
    request.write_bytes(b"\0\0\0\0\x0a" + bytes(10))
    scheme = "http" if either.certificates is None else "https"
    result = run_tool(
        "h2load",
        *("--clients", "100", "--max-concurrent-streams", "1", "--requests", "5000", "--data", request),
        *("--header", "content-type: application/grpc", "--header", "te: trailers"),
        f"{scheme}://{either.address}/interop.Probe/RawEcho",
    )
    assert result.returncode == 0, result.stderr
    assert "5000 succeeded, 0 failed, 0 errored, 0 timeout" in result.stdout
    (data,) = re.findall(r"\((\d+)\) data", result.stdout)
    assert int(data) == 5000 * 15

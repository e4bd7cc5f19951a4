"""tonic (Rust) as a client: `tonic-client` makes its calls and checks the answers itself."""


def test_all_cardinalities_failures_metadata_and_compression(run_tool, either):
    authority = [] if either.certificates is None else [either.certificates.authority]
    result = run_tool("tonic-client", either.address, *authority)
    assert result.returncode == 0, result.stderr

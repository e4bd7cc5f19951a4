"""The comparison servers do the workloads' work: the same matrix, so the same scores."""

import sys

import numpy as np
import pytest


@pytest.fixture
def handler(module, monkeypatch):
    """The module of servers/."""
    monkeypatch.syspath_prepend(module("serve_and_load").SERVERS)
    yield module("handler")
    del sys.modules["handler"]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", ["W1", "W2", "W3", "W4"])
def test_scores_are_those_of_the_workloads_matrix(module, handler, tmp_path, name, rows):
    workload = module("workloads").make(name, rows=rows)
    service = workload.write(tmp_path)
    request = handler.InferenceRequest.FromString(workload.request)
    response = handler.Handler(service).score(request)
    expected = module("serve_and_load").expected_scores(workload)
    np.testing.assert_allclose([row.scores for row in response.outputs], expected, rtol=1e-4, atol=1e-5)
    assert [row.row_id for row in response.outputs] == [row.row_id for row in request.inputs]
    assert response.request_id == request.request_id

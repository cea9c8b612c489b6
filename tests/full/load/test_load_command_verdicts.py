"""`rnnserve load`: a search."""

import grpc


def test_objective_without_rates_starts_a_search(load, walks):
    walks.failure, walks.failing = (grpc.StatusCode.UNAVAILABLE, "no"), {"ModelInfer"}
    status, output, errors = load("--slo", "p50=5s", "--duration", "0.05", "--warmup", "0")
    assert status == 1
    assert errors.count("requests/s") > 3
    assert "missed: p50=5s, already at " in output

"""Connections with much ordinary traffic, large and small, which no limit may cut off."""

from campaigns.drills.drilled import MODEL, Infer, points
from kit.inference_requests import request


def test_much_ordinary_traffic_is_never_cut_off(server, bystander):
    """The largest requests from several connections and many small ones on another: each is answered."""
    large = request(MODEL, {"input": points(450, 4096)}, ["logits"]).SerializeToString()  # 14.7 MB
    small = request(MODEL, {"input": points(8, 8)}, ["logits"]).SerializeToString()
    clients = [Infer(server.port) for _ in range(4)]
    futures = [client.call.future(large, timeout=120) for client in clients[:3] for _ in range(4)]
    futures += [clients[3].call.future(small, timeout=120) for _ in range(1024)]
    assert {(future.code().name, future.details()) for future in futures} == {("OK", "")}

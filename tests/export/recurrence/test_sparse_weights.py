"""Modules with sparse weights: the graph has dense ones, and the module is left as it was."""

import pytest
import torch
from torch import nn

from rnnserve.client import Client
from rnnserve.export import Floats, publish
from rnnserve.server.testing import serve


class EchoState(nn.Module):
    """Computes the reservoir's product by a function that takes a sparse matrix."""

    def __init__(self, product, layout, held):
        super().__init__()
        torch.manual_seed(0)
        weights = (torch.randn(24, 24) * (torch.rand(24, 24) < 0.2) * 0.3).to_sparse(layout=layout)
        self.reservoir: torch.Tensor
        if held == "buffer":
            self.register_buffer("reservoir", weights)
        elif held == "parameter":
            self.reservoir = nn.Parameter(weights, requires_grad=False)
        else:
            self.reservoir = weights
        self.product = product
        self.inner, self.head = nn.Linear(4, 24), nn.Linear(24, 3)

    def forward(self, x):
        h = x.new_zeros(x.size(0), 24)
        states = []
        for t in range(x.size(1)):
            h = torch.tanh(self.inner(x[:, t]) + self.product(self.reservoir, h.t()).t())
            states.append(h)
        return self.head(torch.stack(states, 1))


PRODUCTS = {
    "sparse.mm": torch.sparse.mm,
    "mm": torch.mm,
    "@": torch.matmul,
    "sparse.addmm": lambda weights, h: torch.sparse.addmm(torch.ones(24, 1).expand(24, h.size(1)), weights, h),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize(
    ("product", "layout", "held"),
    [
        *[(product, torch.sparse_coo, "buffer") for product in PRODUCTS],
        ("sparse.mm", torch.sparse_coo, "parameter"),
        ("sparse.mm", torch.sparse_coo, "attribute"),
        ("@", torch.sparse_csr, "buffer"),
    ],
)
def test_echo_states(product, layout, held, tmp_path):
    module = EchoState(PRODUCTS[product], layout, held).eval()
    weights = module.reservoir
    publish(
        module, "echo", repository=tmp_path, inputs={"x": Floats("batch", "sequence", ("features", 4))}, outputs=["y"]
    )
    assert module.reservoir is weights
    assert module.reservoir.layout is layout
    x = torch.randn(3, 9, 4)
    with torch.no_grad():
        expected = module(x)
    with serve(tmp_path) as server, Client(server.address) as client:
        (answer,) = client.predict("echo", [x[0].numpy()])
    torch.testing.assert_close(torch.from_numpy(answer["y"]), expected[0], rtol=1e-5, atol=1e-6)

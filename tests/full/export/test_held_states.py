"""States that refusals name can be described, and other modules that hold states are published or refused as such."""

import numpy as np
import pytest
import torch

from kit.corpus.outside_states import HOLDS, Decoder, Holding, HoldingCells, kept
from rnnserve.client import Client
from rnnserve.export import Floats, Publication, publish
from rnnserve.export.description.described_model import describe_model
from rnnserve.server.testing import serve

PATHS = {
    "nested": ["held.0.0", "held.1.b"],
    "a list of a registered one": ["held.1", "held.0.kept.0"],
}


@pytest.mark.parametrize("name", PATHS)
def test_states_named_in_a_refusal_can_be_described(name):
    module = HoldingCells(*HOLDS[name]).eval()
    states = [f"{path}.h" for path in PATHS[name]]
    model = describe_model(Publication(module, "m", {"x": Floats("batch", 3)}, ["y"], state_attributes=states))
    assert [tensor.name for tensor in model.inputs] == ["x", *states]
    x, h = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    with torch.no_grad():
        found = model.module.run({"x": x, **dict.fromkeys(states, h)})
        expected = torch.from_numpy(x)
        for cell in module.found(module.held):
            expected = torch.tanh(cell.linear(expected)) + 0.5 * torch.from_numpy(h)
    np.testing.assert_array_equal(found["y"], expected.numpy())


def test_state_in_an_object_can_be_described(tmp_path):
    torch.manual_seed(1)
    module = Holding(Decoder(kept, h=None)).eval()
    inputs = {"x": Floats("batch", 1, 3)}
    publish(
        module,
        "stepped",
        repository=tmp_path,
        inputs=inputs,
        outputs=["y"],
        state_attributes=["held.h"],
        progress=False,
    )
    assert module.held.h is None
    with serve(tmp_path) as server, Client(server.address) as client, client.session("stepped") as session:
        for x in torch.randn(4, 1, 3):
            with torch.no_grad():
                expected = module(x[None])
            np.testing.assert_allclose(session.step({"x": x.numpy()})["y"], expected[0].numpy(), atol=1e-6)

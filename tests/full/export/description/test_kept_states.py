"""A state that begins with computed values: what publishing advises, and that the advice serves."""

from typing import Any

import numpy as np
import torch
from torch import nn

from rnnserve.client import Client
from rnnserve.export import Floats, Integers, Publication, StateTree, publish
from rnnserve.server.testing import serve


class Smooth(nn.Module):
    """Begins with its first step's own values."""

    def __init__(self):
        super().__init__()
        self.mem = None

    def forward(self, x):
        self.mem = x if self.mem is None else 0.8 * self.mem + 0.2 * x
        return self.mem * 1.0


class Counted(nn.Module):
    """The same from zeros, as the warning says."""

    def __init__(self):
        super().__init__()
        self.mem = self.steps = None

    def forward(self, x):
        if self.steps is None:
            self.mem, self.steps = torch.zeros_like(x), torch.zeros(x.size(0), 1, dtype=torch.int64)
        self.mem = torch.where(self.steps == 0, x, 0.8 * self.mem + 0.2 * x)
        self.steps = (self.steps + 1).clamp(max=1)
        return self.mem * 1.0


def test_attribute_whose_initial_value_depends_on_inputs_is_required(tmp_path):
    x = {"x": Floats("batch", 3)}
    smooth = Publication(Smooth(), "smooth", x, ["y"], state_attributes=["mem"])
    done = publish(smooth, repository=tmp_path, progress=False)
    assert (
        "(batch, 1), in another state attribute: torch.where(self.steps == 0, x,"
        in done.manifest.inputs[1].required_because
    )
    held: dict[str, Any] = {"mem": StateTree(), "steps": Integers("batch", 1, high=2)}
    publish(Publication(Counted(), "counted", x, ["y"], state_attributes=held), repository=tmp_path, progress=False)
    points = np.array([[1, 2, 3], [3, 2, 1], [0, 0, 5]], np.float32)
    with serve(tmp_path) as server, Client(server.address) as client, client.session("counted") as session:
        found = [session.step(point)["y"] for point in points]
    module = Smooth()
    expected = [module(torch.from_numpy(point[None]))[0].numpy() for point in points]
    np.testing.assert_allclose(found, expected, rtol=1e-6)

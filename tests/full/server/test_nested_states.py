"""States in a tree, and in attributes of a module: published, and continued however a sequence is cut."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kit.stateful_service import stateful_service
from rnnserve.export import Floats, StateTree, publish

X = Floats("batch", "sequence", 3)


class Tree(nn.Module):
    """An LSTM and a GRU whose states are in a dict with lists, with the position and a window of inputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.gru = nn.GRU(4, 4, batch_first=True)

    def begin(self, rows):
        layers = [(torch.zeros(1, rows, 4), torch.full((1, rows, 4), 0.25)), (torch.zeros(1, rows, 4),)]
        return {"layers": layers, "position": torch.zeros(rows, dtype=torch.int64), "window": torch.zeros(rows, 2, 3)}

    def forward(self, x, state):
        (hc, (h,)), window = state["layers"], torch.cat([state["window"], x], dim=1)
        y, hc = self.lstm(x + 0.5 * window[:, :-2], hc)
        y, h = self.gru(y, h)
        steps = state["position"].unsqueeze(1) + torch.arange(1, x.size(1) + 1)
        after = {"layers": [hc, (h,)], "position": steps[:, -1], "window": window[:, -2:]}
        return y * (1 + 0.125 * (steps % 8).unsqueeze(2)), after


class Attributes(nn.Module):
    """The same in attributes, which begin as None, as one row and as a dict that is written to."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.hidden: Any = None
        self.cell: Any = nn.Identity()
        self.cell.register_buffer("window", torch.full((1, 2, 3), 0.5))
        self.cache: Any = {"count": None}

    def forward(self, x):
        y, self.hidden = self.lstm(x, self.hidden)
        window = torch.cat([self.cell.window.expand(x.size(0), -1, -1), x], dim=1)
        self.cell.window = window[:, -2:]
        if self.cache["count"] is None:
            self.cache["count"] = torch.zeros(x.size(0), dtype=torch.int64)
        steps = self.cache["count"].unsqueeze(1) + torch.arange(1, x.size(1) + 1)
        self.cache["count"] += x.size(1)
        return y * (1 + 0.125 * (steps % 8).unsqueeze(2)) + window[:, :-2, :1]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder, tree, attributes = tmp_path_factory.mktemp("nested"), Tree().eval(), Attributes().eval()
    publish(
        tree,
        "tree",
        repository=folder,
        inputs={"x": X, "state": StateTree(tree.begin)},
        outputs=["y", "state_n"],
        states={"state_n": "state"},
        sizes={"sequence": (1, 12)},
        progress=False,
    )
    publish(
        attributes,
        "attributes",
        repository=folder,
        inputs={"x": X},
        outputs=["y"],
        state_attributes=["hidden", "cell.window", "cache"],
        sizes={"sequence": (1, 12)},
        progress=False,
    )
    assert (attributes.hidden, attributes.cache, attributes.cell.window.shape) == (None, {"count": None}, (1, 2, 3))
    return folder


def test_however_a_sequence_is_cut_the_answers_are_the_same_bits(published, tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    with torch.no_grad():
        tree, attributes = Tree().eval(), Attributes().eval()
        y, after = tree(torch.from_numpy(x), tree.begin(2))
        z = attributes(torch.from_numpy(x))
    eager = {
        "y": y,
        "state_n.layers.0.0": after["layers"][0][0],
        "state_n.layers.0.1": after["layers"][0][1],
        "state_n.layers.1.0": after["layers"][1][0],
        "state_n.position": after["position"],
        "state_n.window": after["window"],
    }
    held = {
        "y": z,
        "hidden_n.0": attributes.hidden[0],
        "hidden_n.1": attributes.hidden[1],
        "cell.window_n": attributes.cell.window,
        "cache_n.count": attributes.cache["count"],
    }
    with stateful_service(published, tmp_path) as service:
        for model, wanted in (("tree", eager), ("attributes", held)):
            arrays = {name: tensor.numpy() for name, tensor in wanted.items()}
            service.check(model, x, arrays, states=[name for name in arrays if name != "y"])

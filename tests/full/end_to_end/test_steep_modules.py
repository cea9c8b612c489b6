"""A module that amplifies rounding: its golden cases are short, and the server finds what it can do all the same."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.client import Client
from rnnserve.export import Floats, publish
from rnnserve.server.testing import serve


class Steep(nn.Module):
    """Steps that multiply a difference of two states by up to 40."""

    def forward(self, x, h):
        states = []
        for t in range(x.size(1)):
            h = torch.sin(40 * h + x[:, t])
            states.append(h)
        return torch.stack(states, 1), h


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish(
        Steep(),
        "steep",
        repository=tmp_path_factory.mktemp("steep"),
        inputs={"x": Floats("batch", "sequence", 3), "h": Floats("batch", ("hidden", 3))},
        outputs=["y", "h_n"],
        states={"h_n": "h"},
        progress=False,
    ).published


def test_its_golden_cases_are_short(published):
    with np.load(published.folder / "golden.npz") as arrays:
        steps = [arrays[name].shape[1] for name in arrays.files if name.endswith("/inputs/x")]
    assert max(steps) < 8


def test_it_is_sent_in_parts(published):
    sequence = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    with serve(published.folder.parents[1]) as server, Client(server.address) as client:
        (whole,) = client.predict("steep", [sequence])
        with client.session("steep") as session:
            parts = [session.step(sequence[at : at + 3])["y"] for at in (0, 3, 6)]
    assert np.concatenate(parts).tobytes() == whole["y"].tobytes()

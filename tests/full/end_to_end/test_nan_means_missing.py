"""NaN that means "missing", which the module itself takes out: published, served and right where both are told so."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.client import Client
from rnnserve.client.errors import InvalidRequest
from rnnserve.export import Floats, publish
from rnnserve.server import Settings
from rnnserve.server.testing import serve


class Missing(nn.Module):
    """Puts zeros in place of NaN, and tells the recurrent layer where."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 5, batch_first=True)

    def forward(self, x):
        known = ~torch.isnan(x)
        return self.gru(torch.cat([torch.where(known, x, torch.zeros_like(x)), known.float()], -1))[0]


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Missing().eval()


@pytest.fixture
def repository(module, tmp_path):
    inputs = {"x": Floats("batch", "sequence", 3)}
    publish(module, "m", repository=tmp_path, inputs=inputs, outputs=["y"], allow_non_finite=True, progress=False)
    return tmp_path


def test_nan_means_missing(module, repository):
    x = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)
    x[0, 2], x[1, :, 1] = np.nan, np.nan
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    with serve(repository, Settings(provider="cpu", allow_non_finite=True)) as server, Client(server.address) as client:
        np.testing.assert_allclose(client.infer("m", {"x": x})["y"], expected, atol=2e-6)
    with (
        serve(repository) as server,
        Client(server.address) as client,
        pytest.raises(InvalidRequest, match=r"--allow-non-finite.*allow_non_finite=True"),
    ):
        client.infer("m", {"x": x})

"""The private parts of torch that the export uses: each torch is tried with the whole suite before it is named."""

import torch

from rnnserve.export.torch_adapter import TESTED


def test_adapter_names_the_torch_that_runs_these_tests():
    assert torch.__version__.startswith(TESTED)

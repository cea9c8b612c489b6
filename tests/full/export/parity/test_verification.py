"""Records of parity: recurrences that amplify rounding, seeds, threads and devices."""

import dataclasses

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication, scan
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.onnx_runner import PROVIDERS
from rnnserve.export.parity import OnnxRunner, parity_table, verification, verify_parity
from rnnserve.export.parity.tolerances import LIMITS


def test_record_repeats_with_its_seed(subject, proven):
    again = dataclasses.replace(subject())  # with a reference of its own
    assert again.verify_parity().parity == proven()
    assert subject().verify_parity(seed=1).parity != proven()


def test_recurrence_that_amplifies_rounding_without_end_passes(chaotic):
    parity = chaotic.verify_parity().parity
    rows = [row for row in parity.distances if (row.input, row.length) == ("random", 128)]
    assert max(row.eager_from_float64_max for row in rows) > 0.1  # float32 means nothing here, in eager either
    assert max(row.onnx_from_float64_max for row in rows) > 0.1
    steps = [row for row in parity.distances if row.input == "step"]
    assert max(row.onnx_from_eager_max for row in steps) < 1e-5
    assert any(line.startswith("random: rounding alone moves") for line in parity.amplified)


class Gain(nn.Module):
    """Forgets a part of its state that the input chooses: large inputs double each difference many times."""

    def forward(self, x):
        def step(h, x_t):
            h = torch.sin(h * x_t * 0.1)
            return h, h

        return scan(step, torch.full_like(x[:, 0], 0.5), x, dim=1)[1]


def test_rounding_that_only_loud_values_amplify_is_recorded():
    model = describe_model(Publication(Gain(), "gain", {"x": Floats("batch", "sequence", 3)}, ["y"]))
    parity = verify_parity(model, None, to_onnx(model), progress=False).parity
    kinds = {line.split(":")[0] for line in parity.amplified}
    assert "long and loud" in kinds <= {"silence", "loud", "louder", "long and loud"}
    assert "\n".join(f"amplified: {line}" for line in parity.amplified) in parity_table(parity)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_model_runs_on_the_device_whose_limits_hold(subject, monkeypatch, device):
    """With the CPU in the place of CUDA. Torch keeps its number of threads."""
    asked, made = [], []

    class Runner(OnnxRunner):
        def __init__(self, model, *, providers):
            made.append(tuple(providers))
            super().__init__(model)

    def limits(name):
        asked.append(name)
        return LIMITS[name]

    monkeypatch.setattr(verification, "OnnxRunner", Runner)
    monkeypatch.setattr(verification, "limits_for", limits)
    threads = torch.get_num_threads()
    assert verification.verify_parity(
        subject().described, None, subject().model, progress=False, device=device
    ).parity.samples
    assert (asked, made) == ([device], [tuple(PROVIDERS[device])])
    assert torch.get_num_threads() == threads

"""Modules of several architectures: each is published, and its golden results are those of its module."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export import Floats, Lengths, publish
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MODEL, read_version
from rnnserve.protos.golden import load_cases, replay


class Plain(nn.Module):
    def __init__(self, cell, **options):
        super().__init__()
        self.recurrence = cell(2, 3, **options)

    def forward(self, x):
        return self.recurrence(x)[0]


class Packed(Plain):
    def forward(self, x, lengths):  # type: ignore[override]
        batch_first = self.recurrence.batch_first
        packed = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
        total = x.size(1 if batch_first else 0)
        return pad_packed_sequence(self.recurrence(packed)[0], batch_first=batch_first, total_length=total)[0]


@pytest.mark.parametrize(
    ("cell", "layers", "bidirectional", "batch_first", "packed"),
    [(nn.GRU, 1, True, True, False), (nn.RNN, 3, False, False, True), (nn.LSTM, 2, True, True, True)],
)
def test_module_of_any_architecture_is_published_and_replays(
    cell, layers, bidirectional, batch_first, packed, tmp_path
):
    torch.manual_seed(2)
    module = (Packed if packed else Plain)(
        cell, num_layers=layers, bidirectional=bidirectional, batch_first=batch_first
    ).eval()
    axes = ("batch", "sequence") if batch_first else ("sequence", "batch")
    inputs = {"x": Floats(*axes, ("features", 2))} | ({"lengths": Lengths()} if packed else {})
    done = publish(
        module,
        "any",
        repository=tmp_path,
        inputs=inputs,
        outputs=["output"],
        sizes={"sequence": (1, 16)},  # a short proof
        progress=False,
    )
    version = read_version(done.published.folder)
    manifest = version.manifest
    assert manifest.batching.mode == (manifest_pb2.BATCHING_PADDED if packed else manifest_pb2.BATCHING_JOINED)
    (output,) = manifest.outputs
    assert [axis.name for axis in output.axes[:2]] == list(axes)
    assert (output.axes[2].size, output.zeros_after_lengths) == (3 * (1 + bidirectional), packed)
    cases = load_cases(version.files[GOLDEN])
    assert replay(cases, OnnxRunner(version.files[MODEL]), manifest.replay_limits[0]) == []
    for case in cases:
        with torch.no_grad():
            eager = module(*map(torch.from_numpy, case.inputs.values()))
        np.testing.assert_allclose(case.eager["output"], eager.numpy(), atol=1e-6)

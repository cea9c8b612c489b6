"""Modules that ask how long the longest row is, `int(lengths.max())`, with lengths in every form of a description."""

import numpy as np
import onnxruntime
import torch
from torch import nn

from kit.corpus import checking
from kit.corpus.longest_rows import LONGEST_ROWS
from rnnserve.export import Floats, Integers, Mask, publish

X = Floats("batch", "sequence", ("features", 3))


def test_modules_equal_eager(tmp_path):
    checking.check_right(
        [row for row in LONGEST_ROWS if not row.is_core], lambda rows: checking.check_published(rows, tmp_path)
    )


def agrees(file, calls, own):
    """Compare a model with a module on rows of which one is as long as the axis."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for inputs in calls:
        with torch.no_grad():
            expected = own(**{name: torch.from_numpy(array) for name, array in inputs.items()}).numpy()
        (found,) = session.run(None, inputs)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-6)


def calls():
    rng = np.random.default_rng(0)
    for lengths in ([3], [1], [2, 5, 1], [4, 4], [1, 70, 33, 2]):
        x = rng.normal(size=(len(lengths), max(lengths), 3)).astype(np.float32)
        yield {"x": x, "lengths": np.array(lengths)}


class OfMask(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x, mask):
        lengths = mask.long().sum(dim=1)
        steps = lengths.max().item()
        return self.gru(x[:, :steps])[0] * mask[:, :steps].unsqueeze(-1)


class OfIds(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.gru = nn.Embedding(9, 3), nn.GRU(3, 4, batch_first=True)

    def forward(self, ids):
        mask = ids != 0
        steps = int(mask.sum(1).max())
        return self.gru(self.embedding(ids[:, :steps]))[0] * mask[:, :steps].unsqueeze(-1)


def exported(module, inputs, folder):
    """The file that publishing a module writes."""
    sizes = {"sequence": (1, 70)}  # proven in a third less time
    done = publish(module, "m", repository=folder, inputs=inputs, outputs=["y"], sizes=sizes, progress=False)
    return (done.published.folder / "model.onnx").read_bytes()


def test_module_that_computes_lengths_from_a_mask_is_exported(tmp_path):
    module = OfMask().eval()
    file = exported(module, {"x": X, "mask": Mask()}, tmp_path)
    agrees(file, calls(), lambda x, lengths: module(x, torch.arange(x.size(1)) < lengths[:, None]))


def test_module_that_computes_lengths_from_padded_ids_is_exported(tmp_path):
    module = OfIds().eval()
    file = exported(module, {"ids": Integers("batch", "sequence", high=9, padding=0)}, tmp_path)
    random = np.random.default_rng(1)
    several = [{"ids": random.integers(1, 9, each["x"].shape[:2]), "lengths": each["lengths"]} for each in calls()]
    agrees(
        file,
        several,
        lambda ids, lengths: module(ids.masked_fill(torch.arange(ids.size(1)) >= lengths[:, None], 0)),
    )

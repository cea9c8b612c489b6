"""A module is run at the sizes that `sizes=` names, and at no others, whatever part of an export runs it."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Lengths, Publication, publish
from rnnserve.export.file_check import check_file
from rnnserve.export.verify import verify_version

BOUNDS = [(5, 1 << 17), (1, 1), (4, 8)]


class Watched(nn.Module):
    """Takes another path outside its bounds, and keeps each size that it is run at."""

    def __init__(self, low, high, least=1, most=10**9):
        super().__init__()
        self.low, self.high, self.least, self.most = low, high, least, most
        self.lstm = nn.LSTM(3, 4, batch_first=True)  # in eager the fastest by far: 100,000 steps take 50 ms
        self.seen = []

    def forward(self, x, lengths=None):
        steps, rows = x.shape[1], x.shape[0]
        if isinstance(steps, int):
            self.seen.append(steps)
            assert self.low <= steps <= self.high, f"{steps} steps"
        if isinstance(rows, int):
            assert self.least <= rows <= self.most, f"{rows} rows"
        if steps < self.low or steps > self.high:
            return self.lstm(x)[0] * 2
        output = self.lstm(x)[0]
        return output if lengths is None else output * (torch.arange(x.shape[1]) < lengths[:, None])[..., None]


@pytest.mark.parametrize(
    ("bounds", "rows"),
    [*((bounds, None) for bounds in BOUNDS), ((28, 28), (3, 40))],
    ids=str,
)
def test_publish_and_check_respect_the_size_limits(bounds, rows, tmp_path):
    module = Watched(*bounds, *(rows or ())).eval()
    module.seen = seen = _Kept()
    sizes = {"sequence": bounds} | ({"batch": rows} if rows else {})
    inputs = {"x": Floats("batch", "sequence", 3)}
    publication = Publication(module, "model", inputs, ["y"], sizes=sizes)
    done = publish(publication, repository=tmp_path, progress=False)
    assert seen.all, "it was never run"
    assert all(bounds[0] <= size <= bounds[1] for size in seen.all)
    assert not check_file(done.published.folder / "model.onnx", publication, progress=False).faults
    assert all(bounds[0] <= size <= bounds[1] for size in seen.all)
    assert not [failure for check in verify_version(done.published.folder) for failure in check.failures]


class _Kept(list):
    """A list that is emptied when the module is restored, and keeps its former items in `all`."""

    def __init__(self):
        super().__init__()
        self.all = []

    def append(self, size):
        self.all.append(size)
        super().append(size)


def test_lengths_respect_the_size_limits(tmp_path):
    bounds = (5, 64)
    inputs = {"x": Floats("batch", "sequence", 3), "lengths": Lengths()}
    module = Watched(*bounds).eval()
    sizes = {"sequence": bounds}
    publish(module, "model", repository=tmp_path, progress=False, inputs=inputs, outputs=["y"], sizes=sizes)

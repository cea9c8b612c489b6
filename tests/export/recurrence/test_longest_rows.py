"""Modules that ask how long the longest row is, `int(lengths.max())`, as most code for padded sequences does."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export import ExportError, Floats, Integers, Lengths, Mask, Publication, publish
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.description.lenient_module import LenientModule
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.recurrence.longest_rows import LongestRowMode, longest_row
from rnnserve.protos import manifest_pb2

X = Floats("batch", "sequence", ("features", 3))
LENGTHED: dict[str, Any] = {"inputs": {"x": X, "lengths": Lengths()}, "outputs": ["y"]}


class Layers(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.way = way
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.cell = nn.GRUCell(3, 4)
        self.positions = nn.Embedding(4000, 3)

    def forward(self, x, lengths):
        return self.way(self, x, lengths)


def mask_of_a_number(self, x, lengths):
    steps = int(lengths.max())
    mask = torch.arange(steps).unsqueeze(0) < lengths.unsqueeze(1)
    return self.gru(x[:, :steps])[0] * mask.unsqueeze(-1)


def item(self, x, lengths):
    steps = lengths.max().item()
    return self.gru(x[:, :steps] + self.positions(torch.arange(steps)))[0]


def a_tensor_as_a_size(self, x, lengths):
    mask = torch.arange(lengths.max(), device=x.device).expand(len(lengths), lengths.max()) < lengths.unsqueeze(1)
    return (self.gru(x)[0] * mask[:, :, None]).sum(1)


def of_an_axis(self, x, lengths):
    steps = torch.max(lengths.long().cpu(), 0)[0]
    return self.gru(x[:, :steps])[0].cumsum(1)


def amax(self, x, lengths):
    mask = torch.ones(x.size(0), int(torch.amax(lengths))).cumsum(1) <= lengths[:, None]
    return self.gru(x[:, : mask.size(1)])[0].masked_fill(~mask.unsqueeze(-1), 0.5)


def filled(self, x, lengths):
    result = x.new_zeros(x.size(0), lengths.max(), 4)
    result[:, :, :3] = x[:, : result.size(1)]
    return self.gru(result[..., :3])[0] + result


def loop(self, x, lengths):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(int(lengths.max())):
        new = self.cell(x[:, t], h)
        h = torch.where((t < lengths).unsqueeze(1), new, h)
        outputs.append(h)
    return torch.stack(outputs, 1)


def loop_over_a_tensor(self, x, lengths):
    h = x.new_zeros(x.size(0), 4)
    for t in range(lengths.max()):
        h = torch.where((t < lengths).unsqueeze(1), self.cell(x[:, t], h), h)
    return h


def as_many_as_the_longest(self, x, lengths):
    h, outputs = torch.cat([x[:, 0], x[:, 0, :1]], 1), []
    for _ in range(int(lengths.max())):
        h = self.cell(h[:, :3], h)
        outputs.append(h)
    return torch.stack(outputs, 1)


def sorted_rows(self, x, lengths):
    lengths, order = lengths.sort(descending=True)
    steps = int(lengths[0])
    packed = pack_padded_sequence(x[order, :steps], lengths, batch_first=True)
    padded, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
    mask = torch.arange(steps) < lengths[:, None]
    return (padded * mask.unsqueeze(-1))[torch.argsort(order)]


def listed(self, x, lengths):
    packed = pack_padded_sequence(x, lengths.tolist(), batch_first=True, enforce_sorted=False)
    return self.gru(packed)[1][0]


def an_array(self, x, lengths):
    packed = pack_padded_sequence(x, lengths.cpu().numpy(), batch_first=True, enforce_sorted=False)
    return self.gru(packed)[1][0]


def half_as_many(self, x, lengths):
    halves = (lengths + 1) // 2
    steps = int(halves.max())
    x = x[:, ::2]
    mask = torch.arange(steps) < halves.unsqueeze(1)
    return (self.gru(x)[0] * mask.unsqueeze(-1)).sum(1)


def fewer_than_the_input(self, x, lengths):
    if lengths.max() < x.size(1):
        x = x[:, : lengths.max()]
    return self.gru(x)[0]


WAYS = [
    mask_of_a_number,
    item,
    a_tensor_as_a_size,
    of_an_axis,
    amax,
    filled,
    loop,
    loop_over_a_tensor,
    as_many_as_the_longest,
    sorted_rows,
    listed,
    an_array,
    half_as_many,
    fewer_than_the_input,
]


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


@pytest.mark.filterwarnings("ignore:the (function|exported module)")  # of loops written as scans, and dropped branches
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_values_are_the_modules_own(way):
    torch.manual_seed(0)
    module = Layers(way).eval()
    model = describe_model(Publication(module, "m", **LENGTHED))
    assert isinstance(model.module, LenientModule)
    agrees(to_onnx(model), calls(), module)


@pytest.mark.parametrize("way", [mask_of_a_number, sorted_rows, listed], ids=lambda way: way.__name__)
def test_it_is_published_and_shares_runs(way, tmp_path):
    torch.manual_seed(0)
    module = Layers(way).eval()
    version = publish(module, "m", repository=tmp_path, progress=False, **LENGTHED)
    assert version.manifest.batching.mode == manifest_pb2.BATCHING_PADDED
    agrees((version.published.folder / "model.onnx").read_bytes(), calls(), module)


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


def test_lengths_that_a_module_makes_of_a_mask():
    torch.manual_seed(0)
    module = OfMask().eval()
    model = describe_model(Publication(module, "m", inputs={"x": X, "mask": Mask()}, outputs=["y"]))
    agrees(to_onnx(model), calls(), lambda x, lengths: module(x, torch.arange(x.size(1)) < lengths[:, None]))


def test_lengths_that_a_module_makes_of_padded_ids():
    torch.manual_seed(0)
    module = OfIds().eval()
    ids = Integers("batch", "sequence", high=9, padding=0)
    model = describe_model(Publication(module, "m", inputs={"ids": ids}, outputs=["y"]))
    several = [
        {"ids": np.random.default_rng(1).integers(1, 9, each["x"].shape[:2]), "lengths": each["lengths"]}
        for each in calls()
    ]
    agrees(
        to_onnx(model),
        several,
        lambda ids, lengths: module(ids.masked_fill(torch.arange(ids.size(1)) >= lengths[:, None], 0)),
    )


class OfPair(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, pair):
        x, lengths = pair
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.gru(packed)[1][0]


class Optional(nn.Module):
    """What tells the steps, and the lengths, may be left out."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, x, lengths: torch.Tensor | None = None, more: torch.Tensor | None = None):
        steps = x.size(1) if lengths is None else int(lengths.max())
        x = x[:, :steps] if more is None else x[:, :steps] + more[:, :steps]
        return self.gru(x)[0].cumsum(1)


def test_lengths_that_are_part_of_an_argument_are_packed_as_they_are():
    torch.manual_seed(0)
    module = OfPair().eval()
    inputs = {"pair": {"x": X, "lengths": Lengths()}}
    model = describe_model(Publication(module, "m", inputs=inputs, outputs=["y"]))
    agrees(to_onnx(model), calls(), lambda x, lengths: module((x, lengths)))


def test_arguments_that_are_left_out_have_no_steps():
    torch.manual_seed(0)
    module = Optional().eval()
    inputs = {"x": X, "lengths": Lengths(), "more": X}
    model = describe_model(Publication(module, "m", inputs=inputs, outputs=["y"]))
    x = torch.randn(2, 5, 3)
    found = model.interface.call(model.module, {"x": x.numpy()})["y"]
    np.testing.assert_array_equal(found, module(x).detach().numpy())
    found = model.interface.call(model.module, {"x": x.numpy(), "lengths": np.array([2, 3])})["y"]
    np.testing.assert_array_equal(found, module(x).detach().numpy())


def a_share_of_the_longest(self, x, lengths):
    return self.gru(x)[0][:, 0] / lengths.max()


def one_row_of_several(self, x, lengths):
    return self.gru(x)[0].sum(1) * lengths[0]


def compared(self, x, lengths):
    assert lengths.max() <= x.size(1)
    return self.gru(x)[0]


def rows_by_their_numbers(self, x, lengths):
    return torch.stack([self.gru(x[row : row + 1, :n])[1][0, 0] for row, n in enumerate(lengths.tolist())])


@pytest.mark.parametrize("way", [a_share_of_the_longest, one_row_of_several, compared], ids=lambda way: way.__name__)
def test_a_module_that_computes_with_it_stays_as_it_is(way):
    """Its values depend on the longest row's length, or on the first one's, or nothing does: no size is made of it."""
    module = Layers(way).eval()
    assert describe_model(Publication(module, "m", **LENGTHED)).module is module


def test_lengths_that_are_read_one_by_one_are_refused(tmp_path):
    with pytest.raises(ExportError, match=r"reads the lengths of rows as numbers, one by one.*torch\.arange"):
        publish(Layers(rows_by_their_numbers).eval(), "m", repository=tmp_path, progress=False, **LENGTHED)


def test_only_what_a_mode_has_made_stands_for_a_number():
    lengths = torch.tensor([2, 5])
    with LongestRowMode([(lengths, 7)]) as mode:
        longest = lengths.max()
        assert (longest_row(longest), longest.item(), int(longest + 1), int(longest // 2)) == (7, 7, 8, 3)
        assert [longest < 8, longest >= 8, 9 - longest.item()] == [True, False, 2]
        assert int((lengths - 1).max()) == 6
        assert torch.arange(longest).shape == (7,)  # type: ignore[call-overload]  # eager takes it
        assert torch.zeros(2, 9)[:, :longest].shape == (2, 7)
        assert longest_row(lengths) is None
        assert longest_row(7) is None
        assert mode.asked
    assert longest_row(longest) is None
    with LongestRowMode([(lengths, 7)]) as mode:
        assert torch.tensor([2, 5]).max().item() == 5
        assert (lengths * 2).sum() == 14
        assert not mode.asked

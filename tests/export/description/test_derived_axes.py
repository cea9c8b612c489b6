"""Output sizes that follow from input sizes are found, whatever the stride, and right at every size."""

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.client import Client
from rnnserve.export import Floats, UnsupportedModule, publish
from rnnserve.export.description.described_outputs import derive_axis, fit_size
from rnnserve.protos import manifest_pb2
from rnnserve.protos.derived_size import DerivedSize
from rnnserve.server.testing import serve


def convolutions(*layers: tuple[int, int, int]):
    """The number of steps after convolutions of (kernel, stride, padding), one after the other."""

    def steps(size: int) -> int:
        for kernel, stride, padding in layers:
            size = (size + 2 * padding - kernel) // stride + 1
        return size

    return steps


WAV2VEC = convolutions((10, 5, 0), *[(3, 2, 0)] * 4, *[(2, 2, 0)] * 2)


RULES = [
    pytest.param(convolutions((400, 160, 0)), (400, 4000), "(n-240)/160", id="hop 160"),
    pytest.param(convolutions((400, 160, 200)), (400, 16000), "(n+160)/160", id="hop 160, centered"),
    pytest.param(WAV2VEC, (400, 16000), "(n-80)/320", id="wav2vec"),
    pytest.param(convolutions((40, 20, 3), (32, 16, 5)), (700, 9000), "(n-134)/320", id="20 x 16, padded"),
    pytest.param(lambda n: (147 * n + 159) // 160, (1, 16000), "(147*n+159)/160", id="resampled by 147/160"),
    pytest.param(lambda n: 256 * n - 7, (1, 128), "256*n-7", id="256 for each"),
    pytest.param(lambda n: max(1, n // 2), (1, 1025), "n/2 [1..]", id="half, at least one"),
    pytest.param(lambda n: max(1, n - 1), (1, 1025), "n-1 [1..]", id="but one"),
    pytest.param(lambda n: min(n, 127), (1, 1025), "n [..127]", id="a window"),
    pytest.param(lambda n: min(max(n // 3, 2), 40), (1, 1025), "n/3 [2..40]", id="between two bounds"),
    pytest.param(lambda n: min(n // 160, 50), (160, 16000), "n/160 [..50]", id="frames up to a bound"),
    pytest.param(lambda n: -(-n // 8) * 8, (1, 1025), "8*((n+7)/8)", id="padded to a multiple"),
    pytest.param(lambda n: n // 2 * 2 + 1, (1, 1025), "2*(n/2)+1", id="strides, transposed"),
]


@pytest.mark.parametrize(("steps", "limits", "rule"), RULES)
def test_size_rule_is_found_and_correct_at_every_size(steps, limits, rule):
    low, high = limits
    sizes = np.arange(low, high + 1)
    expected = [steps(size) for size in sizes.tolist()]
    by_runs = derive_axis(lambda at: steps(at["n"]), {"n": limits}, {"batch": 3})
    by_sizes = fit_size("n", sizes[: 1 << 13], np.array(expected[: 1 << 13]))
    assert (by_runs is None) == (rule == "(147*n+159)/160")  # runs do not show all that 160 leaves over
    for found in (by_sizes,) if by_runs is None else (DerivedSize.of_axis(by_runs), by_sizes):
        assert str(found) == rule
        assert found.sizes(sizes).tolist() == expected == [found.size(size) for size in sizes.tolist()]


@pytest.mark.parametrize("steps", [lambda n: n * n, lambda n: int(n * 0.7), lambda n: n - n // 7 % 2])
def test_size_without_a_simple_formula_has_no_rule(steps):
    sizes = np.arange(160, 4000)
    assert fit_size("n", sizes, np.array([steps(size) for size in sizes.tolist()])) is None


LENGTHS = (3, 126, 127, 128, 129, 200, 333, 1999, 4096)


class Cut(nn.Module):
    """Outputs of other lengths than their input, each of which was right at up to 128 steps only."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        y, n = self.rnn(x)[0], x.size(1)
        resampled = nn.functional.interpolate(y.transpose(1, 2), scale_factor=1.5).transpose(1, 2)
        padded = nn.functional.pad(y, (0, 0, 0, max(0, 200 - n)))
        return y[:, : max(1, n // 2)], y[:, -127:], y[:, : max(1, n - 1)], resampled, y[:, -200:], padded, y[:, :5]


def test_outputs_have_the_right_lengths_at_untried_sizes(tmp_path):
    torch.manual_seed(0)
    module, outputs = Cut().eval(), ["half", "window", "but_one", "resampled", "longer_window", "padded", "few"]
    inputs = {"x": Floats("batch", "sequence", 3)}
    done = publish(module, "m", repository=tmp_path, inputs=inputs, outputs=outputs, progress=False)
    rules = [axis for tensor in done.manifest.outputs for axis in tensor.derived_axes]
    names = ["sequence/2 [1..]", "sequence [..127]", "sequence-1 [1..]", "3*sequence/2", "sequence [..200]"]
    assert [axis.name for axis in rules] == [*names, "sequence [200..]", "sequence [..5]"]
    assert {axis.means for axis in rules} == {manifest_pb2.MEANS_PROVEN}
    with serve(tmp_path) as server, Client(server.address) as client:
        rows = [np.random.default_rng(steps).normal(size=(steps, 3)).astype(np.float32) for steps in LENGTHS]
        for row, answer in zip(rows, client.predict("m", rows), strict=True):
            with torch.no_grad():
                expected = module(torch.from_numpy(row[None]))
            for name, wanted in zip(outputs, expected, strict=True):
                assert answer[name].shape == wanted[0].shape, (len(row), name)
                np.testing.assert_allclose(answer[name], wanted[0], atol=1e-5)


class Resampled(nn.Module):
    def forward(self, x):
        return nn.functional.interpolate(x.transpose(1, 2), scale_factor=0.7).transpose(1, 2)


class Squared(nn.Module):
    def forward(self, x):
        return x.repeat(1, x.size(1), 1)


class Third(nn.Module):
    def forward(self, x):
        return x[:, 2::3]


@pytest.mark.parametrize(
    ("module", "low", "said"),
    [
        (Squared(), 1, r'axis 1 of output "y" has the size sequence\*\*2\. Expected a fixed size'),
        (Resampled(), 2, r'axis 1 of output "y" .* Expected a fixed size.* Pad the output'),
        (Third(), 1, r'output "y" has shape \[\d, 0, 3\] .* sizes=\{"sequence": \(3, …\)\}'),
    ],
)
def test_underivable_output_size_is_refused_with_a_remedy(tmp_path, module, low, said):
    with pytest.raises(UnsupportedModule, match=said):
        publish(
            module,
            "m",
            repository=tmp_path,
            inputs={"x": Floats("batch", "sequence", 3)},
            outputs=["y"],
            sizes={"sequence": (low, 4000)},
            progress=False,
        )


class Few(nn.Module):
    """Gives the states of the first steps, five at most."""

    def forward(self, x):
        h, outputs = x.new_zeros(x.size(0), 3), []
        for t in range(min(x.size(1), 5)):
            h = torch.tanh(h + x[:, t])
            outputs.append(h)
        return torch.stack(outputs, 1)


def published(folder, **more):
    inputs = {"x": Floats("batch", "sequence", 3)}
    return publish(Few(), "few", repository=folder, inputs=inputs, outputs=["y"], progress=False, **more)


def test_loop_over_few_steps_is_refused_with_advice_to_set_sizes(tmp_path):
    said = r'another path at the size 1.* sizes=\{"sequence": \(smallest'
    with pytest.raises(UnsupportedModule, match=said) as raised:
        published(tmp_path)
    assert "\n" not in str(raised.value)


def test_loop_over_few_steps_has_a_fixed_size_within_bounded_sizes(tmp_path):
    (output,) = published(tmp_path, sizes={"sequence": (5, 200)}).manifest.outputs
    assert [axis.size for axis in output.axes] == [-1, 5, 3]

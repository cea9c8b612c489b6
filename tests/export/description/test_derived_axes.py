"""Sizes of outputs that follow from those of inputs are found, whatever the stride, and right at every size."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, UnsupportedModule, publish
from rnnserve.export.description.derived_axes import derive_axis


def convolutions(*layers: tuple[int, int, int]):
    """The number of steps after convolutions of (kernel, stride, padding), one after the other."""

    def steps(size: int) -> int:
        for kernel, stride, padding in layers:
            size = (size + 2 * padding - kernel) // stride + 1
        return size

    return steps


WAV2VEC = convolutions((10, 5, 0), *[(3, 2, 0)] * 4, *[(2, 2, 0)] * 2)


@pytest.mark.parametrize(
    ("steps", "limits", "divide"),
    [
        pytest.param(convolutions((32, 16, 0)), (32, 4000), 16, id="hop 16"),
        pytest.param(convolutions((400, 160, 0)), (400, 4000), 160, id="hop 160"),
        pytest.param(convolutions((400, 160, 200)), (400, 16000), 160, id="hop 160, centred"),
        pytest.param(convolutions((400, 160, 0)), (400, 600), 160, id="hop 160, two frames at most"),
        pytest.param(convolutions((1024, 256, 0)), (1024, 9000), 256, id="hop 256"),
        pytest.param(convolutions((3000, 3000, 0)), (3000, 96000), 3000, id="hop 3000"),
        pytest.param(WAV2VEC, (400, 16000), 320, id="wav2vec"),
        pytest.param(convolutions((40, 20, 3), (32, 16, 5)), (700, 9000), 320, id="20 x 16, padded"),
        pytest.param(lambda size: (3 * size + 4) // 7, (1, 128), 7, id="resampled by 3/7"),
        pytest.param(lambda size: (147 * size + 159) // 160, (1, 16000), 160, id="resampled by 147/160"),
        pytest.param(lambda size: 256 * size - 7, (1, 128), 1, id="256 for each"),
    ],
)
def test_a_stride_is_found_and_right_at_every_size(steps, limits, divide):
    derived = derive_axis(lambda sizes: steps(sizes["samples"]), {"samples": limits}, {"batch": 3})
    assert derived is not None
    assert (derived.of, derived.divide) == ("samples", divide)
    for size in range(limits[0], limits[1] + 1):
        assert (derived.multiply * size + derived.add) // derived.divide == steps(size), size


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(lambda size: size // 2 * 2, id="pairs"),
        pytest.param(lambda size: size * size, id="square"),
        pytest.param(lambda size: min(size // 160, 50), id="frames up to a bound"),
    ],
)
def test_what_follows_in_another_way_is_none(steps):
    assert derive_axis(lambda sizes: steps(sizes["samples"]), {"samples": (160, 16000)}, {"batch": 3}) is None


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


def test_an_axis_that_is_shorter_for_few_steps_is_refused_with_what_to_say(tmp_path):
    said = r'axis 1 of output "y" is 5, and 1 for the smallest inputs, .* sizes=\{"sequence": \(5, …\)\}; or return'
    with pytest.raises(UnsupportedModule, match=said) as raised:
        published(tmp_path)
    assert "\n" not in str(raised.value)


def test_it_is_fixed_where_requests_have_as_many(tmp_path):
    (output,) = published(tmp_path, sizes={"sequence": (5, 200)}).manifest.outputs
    assert [axis.size for axis in output.axes] == [-1, 5, 3]

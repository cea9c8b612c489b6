"""Files of several exporters are imported with options alone and return their own results, row by row."""

import numpy as np
import onnx
import pytest

from kit.examples import JOINED
from kit.foreign_files import chunks, framed, less_fourth, one_row_loop, strided, unbatched
from kit.imported_files import axes_of, floats, published
from rnnserve.export.errors import ExportError, WrongArguments
from rnnserve.export.onnx_import import Roles, import_onnx
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2


def test_constant_has_the_value_of_the_option(tmp_path):
    path = chunks(tmp_path, ("n", 4))
    file = OnnxRunner(path.read_bytes())
    inputs = {"x": floats(3, 4), "state": floats(1, 3, 3, seed=1)}
    answers = []
    for rate in (16000, 8000):
        done = import_onnx(path, f"m{rate}", tmp_path / "repository", Roles(constants={"sr": str(rate)}))
        found, expected = published(done)(inputs), file({**inputs, "sr": np.array(rate)})
        assert found["p"].tobytes() == expected["p"].tobytes()
        answers.append(found["p"])
    assert not np.array_equal(*answers)


def test_batch_of_one_becomes_dynamic(tmp_path):
    path = one_row_loop(tmp_path)
    done = import_onnx(path, "m", tmp_path / "repository")
    assert axes_of(done.manifest.inputs) == {"x": ["batch", "time", 2]}
    assert done.manifest.batching.mode == JOINED
    assert any("the batch was fixed at 1 and is now dynamic" in line for line in done.manifest.parity.checks)
    x = floats(3, 5, 2)
    found, file = published(done)({"x": x})["y"], OnnxRunner(path.read_bytes())
    for row in range(3):
        assert np.array_equal(found[row], file({"x": x[[row]]})["y"][0])


@pytest.mark.parametrize("axes", [(None, None, 2), (-1, -1, 2), ("unk__1", "unk__2", 2)])
def test_batch_is_the_axis_with_independent_rows(axes, tmp_path):
    """Steps first: the first axis is the one over which the GRU runs."""
    path = unbatched(tmp_path)
    model = onnx.load(path)
    gru = next(node for node in model.graph.node if node.op_type == "GRU")
    gru.input[0], gru.input[5] = "x", ""
    gru.output[:] = ["y"]
    del model.graph.node[:], model.graph.input[1:], model.graph.output[1:]
    model.graph.node.append(gru)
    model.graph.output[0].type.tensor_type.shape.dim.add()
    model.graph.output[0].type.tensor_type.shape.dim.add()
    shape = model.graph.input[0].type.tensor_type.shape
    del shape.dim[:]
    for axis in axes:
        shape.dim.add(**({} if axis is None else {"dim_param": axis} if isinstance(axis, str) else {"dim_value": axis}))
    path.write_bytes(model.SerializeToString())
    done = import_onnx(path, "m", tmp_path / "repository")
    assert axes_of(done.manifest.inputs)["x"][1:] == ["batch", 2]
    assert any('batch axes found by running the file: axis 1 of "x"' in line for line in done.manifest.parity.checks)
    assert done.manifest.parts.file


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (Roles(constants={"rate": "1"}), '--constant names "rate"; expected one of x, state, sr'),
        (Roles(constants={"sr": "16k"}), "--constant sr=16k: expected one number of int64"),
        (Roles(constants={"x": "1", "sr": "1"}), "--constant x=1: this input has a dynamic axis"),
        (
            Roles(constants={"sr": "16000"}, fixed={"sequence": 4, "time": 4}),
            '--size names the axis "time"; the dynamic axes are batch, sequence',
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(roles, said, tmp_path):
    with pytest.raises(WrongArguments) as raised:
        import_onnx(chunks(tmp_path), "m", tmp_path / "repository", roles)
    assert str(raised.value).startswith(said)
    assert not (tmp_path / "repository").exists()


def test_file_that_fails_at_some_sizes_needs_the_size_option(tmp_path):
    with pytest.raises(ExportError, match=r"accepts only some sizes, name them: --size AXIS=LOW:HIGH"):
        import_onnx(less_fourth(tmp_path), "m", tmp_path / "repository")
    done = import_onnx(less_fourth(tmp_path), "m", tmp_path / "repository", Roles(sizes={"width": (4, 100)}))
    (width,) = [axis for axis in done.manifest.inputs[0].axes if axis.name == "width"]
    assert (width.smallest, width.largest) == (4, 100)


def test_accepted_sizes_beyond_the_tried_ones_come_from_the_file(tmp_path):
    """Short inputs are padded, so that the rule has a smallest size. The manifest says how far it was tried."""
    path = strided(tmp_path)
    done = import_onnx(path, "m", tmp_path / "repository")
    (rule,) = done.manifest.outputs[0].derived_axes
    assert (rule.name, rule.means, rule.tried_to) == ("width/4 [2..]", manifest_pb2.MEANS_TRIED, 4096)
    for width in (1, 8, 13, 129, 200, 1027, 4095):
        x = floats(1, width)
        assert published(done)({"x": x})["y"].tobytes() == OnnxRunner(path.read_bytes())({"x": x})["y"].tobytes()


def test_frames_of_200_samples_are_found_although_short_inputs_have_one_frame(tmp_path):
    """The file leaves the axis open. A server that took it for fixed would refuse every longer request."""
    path = framed(tmp_path)
    done = import_onnx(path, "m", tmp_path / "repository")
    (frames,) = done.manifest.outputs[0].derived_axes
    assert (frames.of, frames.multiply, frames.add, frames.divide) == ("samples", 1, 200, 200)
    x = floats(1, 901)
    found = published(done)({"x": x})["y"]
    assert found.tobytes() == OnnxRunner(path.read_bytes())({"x": x})["y"].tobytes()
    assert found.shape == (1, (901 + 200) // 200)

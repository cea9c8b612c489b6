"""Kinds of files that others export: each is adopted by options alone, and gives the file's own answers, row by row."""

import numpy as np
import onnx
import pytest

from kit.adopted_files import axes_of, floats, published
from kit.example_models import ALONE, JOINED
from kit.foreign_files import (
    but_last,
    cached,
    chunks,
    ending_early,
    framed,
    narrow,
    one_row_loop,
    quantised,
    squeezed,
    strided,
    unbatched,
)
from rnnserve.cli import main
from rnnserve.export.adoption import Roles, adopt
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos import manifest_pb2


def test_a_file_of_an_older_operator_set_without_a_batch_gets_one(tmp_path):
    path = unbatched(tmp_path, opset=11)
    done = adopt(path, "m", tmp_path / "repository")
    manifest = done.manifest
    assert axes_of(manifest.inputs) == {"x": ["batch", "time", 2], "h": ["batch", 1, 3]}
    assert axes_of(manifest.outputs) == {"y": ["batch", "time", 3], "hn": ["batch", 1, 3]}
    assert manifest.batching.mode == ALONE
    assert "one row at a time" in manifest.batching.reasons[0]
    assert manifest.batching.rows.means == manifest.parts.steps.means == manifest_pb2.MEANS_PROVEN
    assert not manifest.parts.reason
    assert manifest.outputs[1].continues_as == "h"
    x, h = floats(4, 5, 2), floats(4, 1, 3, seed=1)
    found, file = published(done)({"x": x, "h": h}), OnnxRunner(path.read_bytes())
    for row in range(4):
        expected = file({"x": x[row], "h": h[row : row + 1]})
        assert found["y"][row].tobytes() == expected["y"].tobytes()
        assert found["hn"][row].tobytes() == expected["hn"][0].tobytes()


def test_a_constant_is_what_the_user_says(tmp_path):
    path = chunks(tmp_path, ("n", 4))
    file = OnnxRunner(path.read_bytes())
    inputs = {"x": floats(3, 4), "state": floats(1, 3, 3, seed=1)}
    answers = []
    for rate in (16000, 8000):
        done = adopt(path, f"m{rate}", tmp_path / "repository", Roles(constants={"sr": str(rate)}))
        found, expected = published(done)(inputs), file({**inputs, "sr": np.array(rate)})
        assert found["p"].tobytes() == expected["p"].tobytes()
        answers.append(found["p"])
    assert not np.array_equal(*answers)


def test_rows_may_send_a_number_of_their_own(tmp_path):
    path = chunks(tmp_path, ("n", 4))
    roles = Roles(axes={("sr", 0): "batch"}, integers={"sr": (8000, 16001)})
    done = adopt(path, "m", tmp_path / "repository", roles)
    assert axes_of(done.manifest.inputs)["sr"] == ["batch"]
    x, state, rates = floats(3, 4), floats(1, 3, 3, seed=1), np.array([16000, 8000, 16000])
    found, file = published(done)({"x": x, "state": state, "sr": rates}), OnnxRunner(path.read_bytes())
    for row, rate in enumerate(rates):
        expected = file({"x": x[[row]], "state": state[:, [row]], "sr": rate})
        assert found["p"][row].tobytes() == expected["p"][0].tobytes()


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (("cache", "cache_out"), Roles()),
        (("a", "b"), Roles(axes={("b", 1): "batch"}, states={"b": "a"})),
    ],
    ids=["by name", "as the user says"],
)
def test_states_of_a_file_of_one_row_have_their_rows_where_they_were(names, roles, tmp_path):
    before, after = names
    path = cached(tmp_path, before, after)
    done = adopt(path, "m", tmp_path / "repository", roles)
    assert done.manifest.batching.mode == ALONE
    assert axes_of(done.manifest.inputs)[before] == axes_of(done.manifest.outputs)[after] == [2, "batch", 4, 1]
    assert done.manifest.outputs[1].continues_as == before
    x, cache = floats(3, 4), floats(2, 3, 4, 1, seed=1)
    found, file = published(done)({"x": x, before: cache}), OnnxRunner(path.read_bytes())
    for row in range(3):
        expected = file({"x": x[[row]], before: cache[:, [row]]})
        assert found["y"][row].tobytes() == expected["y"][0].tobytes()
        assert found[after][:, row].tobytes() == expected[after][:, 0].tobytes()


def test_a_width_that_the_weights_show_is_asked_for_and_the_steps_that_run_are_found(tmp_path, capsys):
    words = ["import", str(narrow(tmp_path)), "--name", "m", "--repository", str(tmp_path / "repository")]
    assert main(words) == 1
    assert "say which it takes: --size width=7" in capsys.readouterr().err
    assert main([*words, "--size", "width=7"]) == 0
    said = capsys.readouterr().out
    assert "input   x FP32 (batch, steps: 2 to 16384, width: 7)" in said
    assert "output  y FP32 (batch, steps)" in said


def test_a_result_whose_size_values_decide_is_refused_in_words(tmp_path):
    with pytest.raises(UnsupportedModule, match=r'sizes of "y" are others for other values .* a Loop ends early'):
        adopt(ending_early(tmp_path), "m", tmp_path / "repository")


def test_a_batch_of_one_is_made_dynamic(tmp_path):
    path = one_row_loop(tmp_path)
    done = adopt(path, "m", tmp_path / "repository")
    assert axes_of(done.manifest.inputs) == {"x": ["batch", "time", 2]}
    assert done.manifest.batching.mode == JOINED
    assert any("its batch was fixed at 1 and is dynamic now" in line for line in done.manifest.parity.checks)
    x = floats(3, 5, 2)
    found, file = published(done)({"x": x})["y"], OnnxRunner(path.read_bytes())
    for row in range(3):
        assert np.array_equal(found[row], file({"x": x[[row]]})["y"][0])


@pytest.mark.parametrize("axes", [(1, "time", 2), (None, None, 2)])
def test_int8_of_one_scale_for_all_rows_is_served_alone(axes, tmp_path):
    path = quantised(tmp_path, axes)
    done = adopt(path, "m", tmp_path / "repository")
    assert axes_of(done.manifest.inputs)["x"][0] == "batch"
    assert done.manifest.batching.mode == ALONE
    assert "int8 by the largest of a run" in done.manifest.batching.reasons[0]
    assert "module" not in " ".join(done.manifest.batching.reasons)
    assert done.manifest.parts.reason
    x = floats(1, 6, 2)
    found, file = published(done)({"x": x})["y"], OnnxRunner(path.read_bytes())
    assert found.tobytes() == file({"x": x})["y"].tobytes()


@pytest.mark.parametrize("axes", [(None, None, 2), (-1, -1, 2), ("unk__1", "unk__2", 2)])
def test_the_batch_is_the_axis_whose_rows_are_apart(axes, tmp_path):
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
    done = adopt(path, "m", tmp_path / "repository")
    assert axes_of(done.manifest.inputs)["x"][1:] == ["batch", 2]
    assert any('the batch, found by trial: axis 1 of "x"' in line for line in done.manifest.parity.checks)
    assert done.manifest.parts.file


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (Roles(constants={"rate": "1"}), '--constant names "rate"; there are x, state, sr'),
        (Roles(constants={"sr": "16k"}), "--constant sr=16k: expected numbers of int64"),
        (Roles(constants={"sr": "1,2"}), "--constant sr=1,2: 2 numbers; expected one, or 1 with commas"),
        (Roles(constants={"x": "1", "sr": "1"}), "--constant x=1: this input has an axis of any size"),
        (
            Roles(constants={"sr": "16000"}, fixed={"sequence": 4, "time": 4}),
            '--size names the axis "time"; the dynamic axes are batch, sequence',
        ),
    ],
)
def test_options_that_do_not_fit(roles, said, tmp_path):
    with pytest.raises(WrongArguments) as raised:
        adopt(chunks(tmp_path), "m", tmp_path / "repository", roles)
    assert str(raised.value).startswith(said)
    assert not (tmp_path / "repository").exists()


def test_sizes_that_the_file_does_not_take(tmp_path):
    roles = Roles(constants={"sr": "16000"}, fixed={"sequence": 5})
    with pytest.raises(WrongArguments, match=r'^it does not run with "x" \[3, 5\]'):
        adopt(chunks(tmp_path, ("batch", "sequence")), "m", tmp_path / "repository", roles)


def test_sizes_from_which_an_output_follows_a_rule_are_asked_for(tmp_path):
    path = but_last(tmp_path)
    with pytest.raises(UnsupportedModule) as raised:
        adopt(path, "m", tmp_path / "repository")
    assert str(raised.value).endswith("one rule; say so, with the largest size: --size width=2:4096")
    assert "return the number of steps" not in str(raised.value)
    done = adopt(path, "m", tmp_path / "repository", Roles(sizes={"width": (2, 4096)}))
    assert axes_of(done.manifest.outputs) == {"y": ["batch", "width-1"]}


def test_sizes_are_those_of_the_file_beyond_what_was_tried(tmp_path):
    """Short inputs are padded, so that the rule has a smallest size. The manifest says how far it was tried."""
    path = strided(tmp_path)
    done = adopt(path, "m", tmp_path / "repository")
    (rule,) = done.manifest.outputs[0].derived_axes
    assert (rule.name, rule.means, rule.tried_to) == ("width/4 [2..]", manifest_pb2.MEANS_TRIED, 1025)
    for width in (1, 8, 13, 129, 200, 1027, 4095):
        x = floats(1, width)
        assert published(done)({"x": x})["y"].tobytes() == OnnxRunner(path.read_bytes())({"x": x})["y"].tobytes()


def test_a_step_for_hundreds_of_samples_is_found_though_short_inputs_have_one(tmp_path):
    """The file leaves the axis open. A server that took it for fixed would refuse every longer request."""
    path = framed(tmp_path)
    done = adopt(path, "m", tmp_path / "repository")
    (frames,) = done.manifest.outputs[0].derived_axes
    assert (frames.of, frames.multiply, frames.add, frames.divide) == ("samples", 1, 200, 200)
    x = floats(1, 901)
    found = published(done)({"x": x})["y"]
    assert found.tobytes() == OnnxRunner(path.read_bytes())({"x": x})["y"].tobytes()
    assert found.shape == (1, (901 + 200) // 200)


def test_a_batch_that_one_row_loses_stays(tmp_path):
    """A Squeeze without axes takes the batch of one row, too, and no row of the result is left."""
    path = squeezed(tmp_path)
    done = adopt(path, "m", tmp_path / "repository")
    assert axes_of(done.manifest.outputs) == {"y": ["batch"]}
    for rows in (1, 3):
        x = floats(rows, 2)
        found = published(done)({"x": x})["y"]
        assert found.shape == (rows,)
        for row in range(rows):
            assert found[row] == OnnxRunner(path.read_bytes())({"x": x[[row]]})["y"]

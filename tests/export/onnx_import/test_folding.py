"""Files of one step, folded over their steps: the same bits as stepping, in batches of any lengths."""

import numpy as np
import pytest

from kit.foreign_files import BOOL, INT64, save, value
from kit.one_step_files import WEIGHTS, cell, imported, predicted, stepped
from rnnserve.cli import main
from rnnserve.export.errors import WrongArguments
from rnnserve.protos import manifest_pb2


def test_folded_rows_of_any_length_have_the_bits_of_stepping(tmp_path):
    path = cell(tmp_path)
    done = imported(path, tmp_path, fold="steps")
    assert [tensor.name for tensor in done.manifest.inputs] == ["x", "h", "lengths"]
    assert [axis.name for axis in done.manifest.inputs[0].axes] == ["batch", "steps", "axis 1"]
    assert done.manifest.batching.mode == manifest_pb2.BATCHING_PADDED
    rows = [np.random.default_rng(steps).standard_normal((steps, 4), np.float32) for steps in (1, 7, 3)]
    expected = stepped(path, [[{"x": step[None]} for step in row] for row in rows], h=np.zeros((1, 3), np.float32))
    for answer, (y, h_n) in zip(predicted(tmp_path / "repository", rows), expected, strict=True):
        assert np.array_equal(answer["y"], y)
        assert np.array_equal(answer["h_n"], h_n[0])


@pytest.mark.parametrize(
    ("axes", "roles", "message"),
    [
        (4, {"states": {}, "outputs": ["y"]}, r"no state was found by name.*--state OUTPUT=INPUT"),
        ("width", {"sizes": {"width": (4, 4)}}, r'axis "width" of input "x" is dynamic.*--size width=SIZE'),
        (4, {"overlaps": {"z": (-1, 2)}}, r'--overlap names "z"; expected an input with steps: x'),
        (4, {"overlaps": {"x": (-1, 4)}}, r"this axis is 4 in each step; expected more than 4"),
        (4, {"overlaps": {"x": (2, 1)}}, r'"x" has 2 axes, numbered from 0'),
    ],
)
def test_unfoldable_file_is_refused_with_a_remedy(axes, roles, message, tmp_path):
    nodes = "xw = MatMul (x, w)  hr = MatMul (h, r)  sum = Add (xw, hr)  h_n = Tanh (sum)  y = MatMul (h_n, out)"
    given = [value("x", ("batch", axes)), value("h", ("batch", 3))]
    made = [value("y", ("batch", 2)), value("h_n", ("batch", 3))]
    path = save(tmp_path, nodes, given, made, WEIGHTS)
    with pytest.raises(WrongArguments, match=message):
        imported(path, tmp_path, fold="steps", **roles)
    assert not (tmp_path / "repository").exists()


def test_flag_of_each_row_is_a_state(tmp_path):
    nodes = "is_over = Greater (x, limit)  latched_out = Or (is_over, latched)  y = Cast <to=1> (latched)"
    given, made = [value("x", ("batch",)), value("latched", ("batch",), BOOL)], [value("y", ("batch",))]
    made.append(value("latched_out", ("batch",), BOOL))
    path = save(tmp_path, nodes, given, made, {"limit": np.full(1, 2, np.float32)})
    done = imported(path, tmp_path, fold="steps", states={})
    assert {tensor.name: tensor.continues_as for tensor in done.manifest.outputs}["latched_out"] == "latched"
    short, long = predicted(tmp_path / "repository", [np.ones(2, np.float32), np.array([1, 3, 1, 1], np.float32)])
    assert (short["y"].tolist(), short["latched_out"]) == ([0, 0], False)
    assert (long["y"].tolist(), long["latched_out"]) == ([0, 0, 1, 1], True)


@pytest.mark.parametrize("name", ["frame_count", "processed_lens"])
def test_counter_of_each_row_is_a_state(name, tmp_path):
    nodes = f"{name}_next = Add ({name}, one)  many = Cast <to=1> ({name})  y = Mul (x, many)"
    given, made = [value("x", ("batch",)), value(name, ("batch",), INT64)], [value("y", ("batch",))]
    made.append(value(f"{name}_next", ("batch",), INT64))
    path = save(tmp_path, nodes, given, made, {"one": np.ones(1, np.int64)})
    done = imported(path, tmp_path, fold="steps", states={})
    assert {tensor.name: tensor.continues_as for tensor in done.manifest.outputs}[f"{name}_next"] == name
    (answer,) = predicted(tmp_path / "repository", [np.ones(4, np.float32)])
    assert answer["y"].tolist() == [0, 1, 2, 3]


def test_pairs_of_equal_shape_are_proposed_as_states(tmp_path):
    given, made = (
        [value("x", ("batch", 3)), value("a", ("batch", 2))],
        [value("y", ("batch", 3)), value("b", ("batch", 2))],
    )
    path = save(tmp_path, "b = Tanh (a)  sum = ReduceSum (b)  y = Add (x, sum)", given, made, {})
    with pytest.raises(WrongArguments, match=r"add --state OUTPUT=INPUT of y=x, b=a, which have equal shapes"):
        imported(path, tmp_path, fold="steps", states={})


def test_counter_of_the_whole_batch_is_refused(tmp_path):
    given, made = [value("x", ("batch",)), value("count", (), INT64)], [value("y", ("batch",))]
    made.append(value("count_out", (), INT64))
    nodes = "count_out = Add (count, one)  many = Cast <to=1> (count)  y = Mul (x, many)"
    path = save(tmp_path, nodes, given, made, {"one": np.array(1)})
    with pytest.raises(WrongArguments, match=r'"count", which continues from "count_out", is a single number'):
        imported(path, tmp_path, fold="steps", states={})


def test_import_error_suggests_folding_a_one_step_file(tmp_path, capsys):
    words = ["import", str(cell(tmp_path)), "--name", "m", "--repository", str(tmp_path / "repository")]
    assert main(words) == 0
    assert "each request is one step; --fold AXIS" in capsys.readouterr().out
    assert main([*words, "--overlap", "x=2"]) == 1
    assert "--overlap is for files of one step: add --fold AXIS" in capsys.readouterr().err

"""Files of one step, folded: windows that overlap, an axis of one step, chunks of frames, sessions."""

import numpy as np
import onnxruntime

from kit.foreign_files import INT64, save, value
from kit.one_step_files import WEIGHTS, cell, imported, predicted, stepped
from rnnserve.client import Client
from rnnserve.protos import manifest_pb2
from rnnserve.server.settings import Settings
from rnnserve.server.testing import serve


def test_overlapping_windows_are_joined_in_the_model(tmp_path):
    path = cell(tmp_path)
    done = imported(path, tmp_path, fold="steps", overlaps={"x": (-1, 2)})
    assert done.manifest.outputs[-1].continues_as == "x_overlap"
    sound = np.random.default_rng(0).standard_normal(12).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.zeros(2, np.float32), sound]), 4)[::2]
    ((y, h_n),) = stepped(path, [[{"x": window[None]} for window in windows]], h=np.zeros((1, 3), np.float32))
    (answer,) = predicted(tmp_path / "repository", [sound.reshape(6, 2)])
    assert np.array_equal(answer["y"], y)
    assert np.array_equal(answer["h_n"], h_n[0])
    assert np.array_equal(answer["x_overlap_n"], sound[-2:])


def test_policy_with_a_frozen_batch_of_1_is_folded(tmp_path):
    """As torch.onnx.export(dynamo=True) writes a step of nn.RNN, and RSL-RL its policies."""
    nodes = """
        steps = Unsqueeze (obs, first)  all, h_out = RNN <hidden_size = 3> (steps, w_0, r_0, , , h_in)
        rows = Transpose <perm = [0, 2, 1, 3]> (all)  both = Reshape (rows, shape)  h_n = Squeeze (both, first)
        actions = MatMul (h_n, out)
    """
    weights = {"w_0": WEIGHTS["w"].T[None], "r_0": WEIGHTS["r"][None], "out": WEIGHTS["out"]}
    given = [value("obs", (1, 4)), value("h_in", (1, 1, 3))]
    made = [value("actions", (1, 2)), value("h_out", (1, 1, 3))]
    path = save(tmp_path, nodes, given, made, weights | {"first": [0], "shape": [1, 1, 3]})
    done = imported(path, tmp_path, fold="steps")
    assert [axis.name for axis in done.manifest.inputs[0].axes] == ["batch", "steps", "axis 1"]
    assert done.manifest.batching.mode == manifest_pb2.BATCHING_PADDED
    rows = [np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32) for count in (2, 5, 1)]
    steps = [[{"obs": step[None]} for step in row] for row in rows]
    expected = stepped(path, steps, h_in=np.zeros((1, 1, 3), np.float32))
    for answer, (actions, h_out) in zip(predicted(tmp_path / "repository", rows), expected, strict=True):
        assert np.allclose(answer["actions"], actions, rtol=1e-5, atol=1e-6)  # kernels for one row round differently
        assert np.allclose(answer["h_out"], h_out[:, 0], rtol=1e-5, atol=1e-6)


def test_chunks_of_frames_with_an_integer_state_are_folded(tmp_path):
    """As streaming encoders are: 5 frames, of which 2 overlap, a cache, and how many frames it has seen."""
    nodes = """
        sums = ReduceSum <keepdims = 0> (x, frames)  xw = MatMul (sums, w)  hr = MatMul (cached_avg, r)
        both = Add (xw, hr)  new_cached_avg = Tanh (both)  new_cached_len = Add (cached_len, three)
        seen = Cast <to = 1> (new_cached_len)  column = Unsqueeze (seen, frames)
        scaled = Div (new_cached_avg, column)  y = MatMul (scaled, out)
    """
    given = [value("x", ("batch", 5, 4)), value("cached_avg", ("batch", 3)), value("cached_len", ("batch",), INT64)]
    made = [value("y", ("batch", 2)), value("new_cached_avg", ("batch", 3)), value("new_cached_len", ("batch",), INT64)]
    path = save(tmp_path, nodes, given, made, WEIGHTS | {"frames": [1], "three": 3})
    states, integers = {"new_cached_len": "cached_len"}, {"cached_len": (0, 1000)}
    done = imported(path, tmp_path, fold="chunks", overlaps={"x": (1, 2)}, states=states, integers=integers)
    assert {each.name: each.continues_as for each in done.manifest.outputs if each.continues_as} == {
        "new_cached_avg": "cached_avg",
        "new_cached_len": "cached_len",
        "x_overlap_n": "x_overlap",
    }
    frames = np.random.default_rng(1).standard_normal((12, 4)).astype(np.float32)
    padded = np.concatenate([np.zeros((2, 4), np.float32), frames])
    expected, cache, seen = [], np.zeros((1, 3), np.float32), np.zeros(1, np.int64)
    file = onnxruntime.InferenceSession(path)
    for at in range(0, 12, 3):
        chunk = {"x": padded[None, at : at + 5], "cached_avg": cache, "cached_len": seen}
        y, cache, seen = file.run(None, chunk)
        expected.append(y[0])
    chunks = frames.reshape(4, 3, 4)
    settings = Settings(provider="cpu", allow_unproven=True)
    with serve(tmp_path / "repository", settings) as server, Client(server.address) as client:
        whole = client.predict("folded", [chunks])[0]
        with client.session("folded") as session:
            steps = [session.step(chunk)["y"] for chunk in chunks]
    assert np.array_equal(whole["y"], expected)
    assert np.array_equal(np.reshape(steps, whole["y"].shape), expected)
    assert whole["new_cached_len"] == 12

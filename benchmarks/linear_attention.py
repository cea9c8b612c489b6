"""Whether onnxruntime's LinearAttention and CausalConvWithState are faster than the graphs that the export writes.

    python -m benchmarks.linear_attention                  # all sizes, a minute for each rule
    python -m benchmarks.linear_attention --rules gated --lengths 64 --batches 1 16

Both graphs have the same inputs and compute the same outputs. One graph is a loop over steps as users write it,
exported as a Scan. The other graph is one operator. They run in turns on one thread. The table has the ratio of medians
and the largest distance from eager PyTorch. It also shows whether a row keeps its bits in a batch (rows), and whether a
sequence keeps its bits in parts of 1, 5 and more steps (parts).
"""

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from rnnserve.export import export_onnx

_GATES = {"linear": "", "gated": "g", "delta": "b", "gated_delta": "gb", "convolution": ""}
Arrays = dict[str, np.ndarray]


class _Loop(nn.Module):
    """The recurrence as a loop over steps. A state is (batch, heads, d, d)."""

    def __init__(self, rule: str, heads: int) -> None:
        super().__init__()
        self.rule, self.heads = rule, heads

    def forward(self, q: Tensor, k: Tensor, v: Tensor, state: Tensor, *gates: Tensor) -> tuple[Tensor, Tensor]:
        """Return the results (batch, sequence, heads * d) and the last state. Decays are logarithms."""
        batch, steps, _ = q.shape
        q, k, v = (each.view(batch, steps, self.heads, -1) for each in (q, k, v))
        given = dict(zip(_GATES[self.rule], gates, strict=True))
        found = []
        for t in range(steps):
            if "g" in given:
                state = state * given["g"][:, t].view(batch, self.heads, -1, 1).exp()
            added = v[:, t]
            if "b" in given:
                added = (added - (state * k[:, t].unsqueeze(-1)).sum(-2)) * given["b"][:, t].unsqueeze(-1)
            state = state + k[:, t].unsqueeze(-1) * added.unsqueeze(-2)
            found.append((q[:, t].unsqueeze(-2) @ state).squeeze(-2))
        return torch.stack(found, 1).reshape(batch, steps, -1), state


class _Convolution(nn.Module):
    """A causal convolution of each channel over the last steps and their state (batch, channels, 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 4, groups=channels, bias=False)

    def forward(self, q: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the results (batch, channels, sequence) and the last state."""
        joined = torch.cat([state, q], -1)
        return self.conv(joined), joined[..., -3:]


def _operator(rule: str, heads: int, names: list[str], weights: list[onnx.TensorProto]) -> onnx.ModelProto:
    if rule == "convolution":
        node = helper.make_node("CausalConvWithState", ["q", "W", "", "state"], ["y", "s"], domain="com.microsoft")
    else:
        gates = [name if name in _GATES[rule] else "" for name in "gb"]
        more: dict[str, Any] = {"q_num_heads": heads, "kv_num_heads": heads, "update_rule": rule, "scale": 1.0}
        node = helper.make_node(
            "LinearAttention", [*"qkv", "state", *gates], ["y", "s"], domain="com.microsoft", **more
        )
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "s")]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _drawn(rule: str, batch: int, steps: int, heads: int, d: int) -> Arrays:
    random = np.random.default_rng(0)
    wide = heads * d
    if rule == "convolution":
        return {
            name: random.normal(size=(batch, wide, n)).astype(np.float32) for name, n in (("q", steps), ("state", 3))
        }
    shapes = {"g": wide, "b": heads}
    made = {name: random.normal(size=(batch, steps, wide)) * d**-0.5 for name in "qkv"}
    made["state"] = random.normal(size=(batch, heads, d, d))
    gates = {name: random.uniform(size=(batch, steps, shapes[name])) for name in _GATES[rule]}
    made |= {name: np.log(gate * 0.5 + 0.5) if name == "g" else gate for name, gate in gates.items()}
    return {name: array.astype(np.float32) for name, array in made.items()}


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _is_same(session: ort.InferenceSession, inputs: Arrays, axis: int) -> tuple[bool, bool]:
    """Return whether rows keep their bits in a batch, and whether a sequence keeps its bits in parts."""
    whole, state = session.run(None, inputs)
    alone = [
        session.run(None, {name: array[at : at + 1] for name, array in inputs.items()}) for at in range(len(whole))
    ]
    ends, given, parts = [0, 1, 6, whole.shape[axis]], inputs["state"], []
    for low, high in itertools.pairwise(ends):
        cut = {name: np.take(array, range(low, high), axis) for name, array in inputs.items() if name != "state"}
        part, given = session.run(None, cut | {"state": given})
        parts.append(part)
    is_whole = np.array_equal(np.concatenate(parts, axis), whole) and np.array_equal(given, state)
    return np.array_equal(np.concatenate([row for row, _ in alone]), whole), is_whole


def _measured(rule: str, heads: int, d: int, sizes: Iterator[tuple[int, int]], rounds: int) -> Iterator[str]:
    module = (_Convolution(heads * d) if rule == "convolution" else _Loop(rule, heads)).eval()
    axis = 2 if rule == "convolution" else 1
    sample = _drawn(rule, 2, 9, heads, d)
    axes = tuple({0: "batch"} if name == "state" else {0: "batch", axis: "sequence"} for name in sample)
    given = tuple(map(torch.from_numpy, sample.values()))
    program = export_onnx(module, given, input_names=[*sample], output_names=["y", "s"], dynamic_shapes=axes)
    weights = [onnx.numpy_helper.from_array(each.detach().numpy(), "W") for each in module.parameters()]
    sessions = _session(program.model_proto), _session(_operator(rule, heads, [*sample], weights))
    for batch, steps in sizes:
        inputs = _drawn(rule, batch, steps, heads, d)
        with torch.no_grad():
            eager = module(*map(torch.from_numpy, inputs.values()))[0].numpy()
        times: tuple[list[float], list[float]] = ([], [])
        distances = [float(np.abs(each.run(None, inputs)[0] - eager).max() / np.abs(eager).max()) for each in sessions]
        for _ in range(rounds):
            for session, taken in zip(sessions, times, strict=True):
                began = time.perf_counter()
                session.run(None, inputs)
                taken.append(time.perf_counter() - began)
        ours, theirs = (statistics.median(each) * 1e3 for each in times)
        same = " ".join("".join("-+"[kept] for kept in _is_same(each, inputs, axis)) for each in sessions)
        yield (
            f"{rule:12}{batch:6}{steps:7}{heads:6}{d:4}{ours:10.3f}{theirs:10.3f}{ours / theirs:8.2f}"
            f"{distances[0]:10.1e}{distances[1]:9.1e}  {same}"
        )


def main() -> None:
    """Print a line for each rule and size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rules", nargs="+", choices=_GATES, default=list(_GATES))
    for name, numbers in (
        ("lengths", (16, 64, 256, 1024)),
        ("batches", (1, 4, 16)),
        ("heads", (1, 4, 8)),
        ("d", (16, 64)),
    ):
        parser.add_argument(f"--{name}", nargs="+", type=int, default=numbers)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each, in turns")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"onnxruntime {ort.__version__}; times in ms; rows and parts: + if bits are kept, first of the Scan")
    print("rule         batch  steps heads   d      Scan  operator   ratio  distance from eager  rows, parts")
    for rule, heads, d in itertools.product(options.rules, options.heads, options.d):
        for line in _measured(rule, heads, d, itertools.product(options.batches, options.lengths), options.rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()

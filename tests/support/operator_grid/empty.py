"""Operators of an axis that is empty: batch 0, sequence 0, and what is inside of a module.

A server takes no axis of size 0. Inside of a module there are such: x[x > 100], x[:, :0], the rows that a mask chooses.
Each operator runs in a process of its own family, which says before each run what it runs: a crash names its operator.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree

from rnnserve.export import export_onnx
from rnnserve.export.parity import OnnxRunner

__all__ = ["DIFFERS", "EMPTY", "SHAPES", "outcomes"]

SHAPES = ((0, 6), (2, 0), (0, 0))
"""(batch, sequence), by which every operator runs."""

_ALONG = "sum mean prod amax amin argmax argmin any all std var logsumexp softmax log_softmax cumsum logcumsumexp"

EMPTY: dict[str, Callable[[torch.Tensor], Any]] = {
    **{f"{name}(1)": lambda x, name=name: getattr(x, name)(1) for name in _ALONG.split()},
    **{f"{name}()": lambda x, name=name: getattr(x, name)() for name in "sum mean prod max min argmax any".split()},
    "max(1)": lambda x: x.max(1),
    "x.long().sum(1)": lambda x: x.long().sum(1),
    "x.long().prod(1)": lambda x: x.long().prod(1),
    "x.long().amax(1)": lambda x: x.long().amax(1),
    "(x > 0).sum(1)": lambda x: (x > 0).sum(1),
    "count_nonzero(1)": lambda x: x.count_nonzero(1),
    "norm(dim=1)": lambda x: x.norm(dim=1),
    "norm(p=inf)": lambda x: x.norm(p=float("inf"), dim=1),
    "normalize": lambda x: F.normalize(x, dim=1),
    "sort(stable=True)": lambda x: torch.sort(x, stable=True, dim=1),
    "topk(1).values": lambda x: x.topk(1, 1).values,
    "flip, roll": lambda x: x.flip(1).roll(1, 1),
    "cat": lambda x: torch.cat([x, x.flip(1)], 1),
    "stack": lambda x: torch.stack([x, x], 1),
    "x[:, -1]": lambda x: x[:, -1],
    "x[:, :0].sum(1)": lambda x: x[:, :0].sum(1),
    "x[:, 1:]": lambda x: x[:, 1:],
    "x[x > 100]": lambda x: x[x > 100],
    "nonzero": lambda x: (x > 100).nonzero(),
    "gather": lambda x: x.gather(1, (x > 0).long()),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(1, (x > 0).long(), x),
    "where": lambda x: torch.where(x > 0, x, -x),
    "pad(1, 1)": lambda x: F.pad(x, (1, 1)),
    "unfold(1, 1, 1)": lambda x: x.unfold(1, 1, 1),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "tril": lambda x: x.tril(),
    "x @ x.mT": lambda x: x @ x.mT,
    "x.mT @ x": lambda x: x.mT @ x,
    "linear over features": lambda x: F.linear(x[..., None], torch.ones(3, 1)),
    "layer_norm over features": lambda x: F.layer_norm(x[..., None].expand(-1, -1, 4), (4,)),
    "conv1d(padding=1)": lambda x: F.conv1d(x[:, None], torch.ones(2, 1, 3), padding=1),
    "max_pool1d(1)": lambda x: F.max_pool1d(x[:, None], 1),
    "attention": lambda x: F.scaled_dot_product_attention(x[..., None], x[..., None], x[..., None]),
    "embedding": lambda x: F.embedding(x.long().clamp(0, 2), torch.ones(3, 2)),
    "unique of integers": lambda x: torch.unique(x.long()),
    "bucketize": lambda x: torch.bucketize(x, torch.tensor([0.0, 1.0])),
}

DIFFERS: dict[str, str] = {}
"""By operator, what is not as in eager, in words for the documentation."""


class _One(nn.Module):
    def __init__(self, compute: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x):
        return tuple(leaf.clone() for leaf in _pytree.tree_leaves(self.compute(x)))


def outcomes(name: str) -> list[str]:
    """Run an operator in a process of its own; give a line for each shape: "equal" or what differs, or the crash."""
    done = subprocess.run(  # noqa: S603 - this interpreter, this file
        [sys.executable, "-m", "support.operator_grid.empty", name], capture_output=True, text=True, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('"')]
    return lines if done.returncode == 0 else [*lines, f"the process ended with {done.returncode}: {done.stderr[-300:]}"]


def _try(name: str) -> None:
    module = _One(EMPTY[name]).eval()
    x = torch.tensor([[1.0, -2.0, 3.0, 0.0, 5.0, 1.0]]).repeat(3, 1)
    program = export_onnx(
        module,
        (x,),
        input_names=["x"],
        output_names=[f"y{at}" for at in range(len(module(x)))],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
    )
    runner = OnnxRunner(program.model_proto.SerializeToString())
    for shape in SHAPES:
        print(json.dumps(f"{name} {shape}: {_compared(module, runner, torch.zeros(shape))}"), flush=True)


def _compared(module: nn.Module, runner: OnnxRunner, x: torch.Tensor) -> str:
    try:
        eager = [result.numpy() for result in module(x)]
    except (RuntimeError, IndexError) as error:
        eager, why = None, str(error).splitlines()[0]
    try:
        found = list(runner({"x": x.numpy()}).values())
    except Exception as error:  # noqa: BLE001 - onnxruntime has several
        return "equal" if eager is None else f"onnxruntime refuses: {str(error)[:200]}"
    if eager is None:
        return f"eager refuses ({why}), and onnxruntime gives {found[0].shape}"
    for expected, got in zip(eager, found, strict=True):
        if (expected.shape, expected.dtype) != (got.shape, got.dtype):
            return f"expected {expected.dtype} {expected.shape}, found {got.dtype} {got.shape}"
        if not np.array_equal(expected, got, equal_nan=expected.dtype.kind == "f"):
            return f"expected {expected.ravel()[:3]}, found {got.ravel()[:3]}"
    return "equal"


if __name__ == "__main__":
    for which in sys.argv[1:]:
        _try(which)

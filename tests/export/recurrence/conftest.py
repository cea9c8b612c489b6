"""What the tests of the recurrent export share: exporting a module and comparing it with eager at other sizes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch.utils import _pytree

from rnnserve.export import export_onnx

BATCH_SEQUENCE = {0: "batch", 1: "sequence"}


class Exported:
    """A module, its program and a session on it."""

    def __init__(self, module: torch.nn.Module, args: tuple[Any, ...], shapes: Any, **rest: Any) -> None:
        self.module = module
        tensors = [leaf for leaf in _pytree.tree_leaves(args) if isinstance(leaf, torch.Tensor)]
        with torch.no_grad():
            results = [leaf for leaf in _pytree.tree_leaves(module(*args)) if isinstance(leaf, torch.Tensor)]
        self.program = export_onnx(
            module,
            args,
            input_names=[f"input_{number}" for number in range(len(tensors))],
            output_names=[f"output_{number}" for number in range(len(results))],
            dynamic_shapes=shapes,
            **rest,
        )
        self.proto = self.program.model_proto
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    @property
    def operators(self) -> list[str]:
        return [node.op_type for node in self.proto.graph.node]

    @property
    def layers(self) -> int:
        return sum(operator in ("RNN", "GRU", "LSTM") for operator in self.operators)

    def axes(self, kind: str) -> list[list[str | int]]:
        values = {"inputs": self.proto.graph.input, "outputs": self.proto.graph.output}[kind]
        return [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values]

    def run(self, *args: Any) -> list[np.ndarray]:
        leaves = [leaf for leaf in _pytree.tree_leaves(args) if isinstance(leaf, torch.Tensor)]
        feeds = {f"input_{number}": leaf.detach().numpy() for number, leaf in enumerate(leaves)}
        wanted = {value.name for value in self.session.get_inputs()}
        return list(self.session.run(None, {name: array for name, array in feeds.items() if name in wanted}))

    def agrees(self, *args: Any, limit: float = 3e-6) -> float:
        """The largest difference from eager; fails where shapes, dtypes or values differ."""
        with torch.no_grad():
            eager = [leaf.numpy() for leaf in _pytree.tree_leaves(self.module(*args)) if isinstance(leaf, torch.Tensor)]
        worst = 0.0
        for number, (expected, found) in enumerate(zip(eager, self.run(*args), strict=True)):
            assert found.shape == expected.shape, f"output_{number}: {found.shape}, eager {expected.shape}"
            assert found.dtype == expected.dtype, f"output_{number}: {found.dtype}, eager {expected.dtype}"
            if expected.size:
                difference = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
                assert difference <= limit, f"output_{number}: off by {difference}"
                worst = max(worst, difference)
        return worst


@pytest.fixture(scope="session")
def exported() -> Callable[..., Exported]:
    """Export a module in evaluation mode, from sample arguments and dynamic shapes."""

    def export(module: torch.nn.Module, args: tuple[Any, ...], shapes: Any, **rest: Any) -> Exported:
        return Exported(module.eval(), args, shapes, **rest)

    return export


@pytest.fixture(scope="session")
def plain(exported: Callable[..., Exported]) -> Callable[..., Exported]:
    """Export a module of (batch, sequence, 3), and compare it at sizes unlike the sample."""

    def check(
        module: torch.nn.Module, *, sizes: Sequence[tuple[int, int]] = ((1, 1), (1, 7), (5, 1), (9, 17))
    ) -> Exported:
        result = exported(module, (torch.randn(3, 4, 3),), ({**BATCH_SEQUENCE},))
        for batch, sequence in sizes:
            result.agrees(torch.randn(batch, sequence, 3))
        return result

    return check


LENGTHS = ([1], [6], [2, 9, 9, 1, 5], [3, 3, 3], [1, 1, 1, 1], [13, 1])


@pytest.fixture(scope="session")
def ragged(exported: Callable[..., Exported]) -> Callable[..., Exported]:
    """Export a module of (batch, sequence, 3) and lengths, and compare it at sizes and lengths unlike the sample."""

    def check(
        module: torch.nn.Module, *, lengths: Sequence[Sequence[int]] = LENGTHS, beyond: int = 0, **options: Any
    ) -> Exported:
        dtype = options.get("dtype", torch.int64)
        sample = (torch.randn(3, 4, 3), torch.tensor([4, 2, 1], dtype=dtype))
        result = exported(module, sample, ({**BATCH_SEQUENCE}, {0: "batch"}))
        for rows in lengths:
            for extra in {0, beyond}:
                result.agrees(torch.randn(len(rows), max(rows) + extra, 3), torch.tensor(rows, dtype=dtype))
        return result

    return check

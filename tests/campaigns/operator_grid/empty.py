"""Operators on tensors without rows or steps. onnxruntime runs them in a separate process, because some end it."""

import concurrent.futures
import contextlib
import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy.typing as npt
import onnx
import torch

from campaigns.operator_grid.operators import Family
from rnnserve.export.parity import OnnxRunner

_SECONDS = 120.0

_AN_ERROR, _NO_ERROR = "an error of onnxruntime", "nothing, where eager raises an error"
_GUARDED = "an error of the request, which says what has no values"

DIFFERS_OF_NOTHING: Mapping[tuple[str, str], str] = {
    ("Two integers", "x // x.size(0)"): _AN_ERROR,
    ("Two integers", "cumprod(1)"): _GUARDED,
    **{
        ("Steps (batch, steps, features), of which there may be none", name): _GUARDED
        for name in (
            *("mean(1)", "std(1)", "var(1)", "cumprod(1)", "logcumsumexp(1)", "mean()"),
            *("mean((1, 2), keepdim=True)", "var_mean(1)", "mse_loss"),
        )
    },
    ("Losses", "l1_loss"): _GUARDED,
    ("Losses", "mse_loss"): _GUARDED,
    ("Rows", "quantile(0.5, 1)"): _NO_ERROR,
    ("Normalisations", "group_norm"): _AN_ERROR,
    ("Rows and indices", "repeat_interleave"): _AN_ERROR,
    ("Rows and indices", "pad(circular)"): _AN_ERROR,
    ("Shapes and products, of finite rows", "scaled_dot_product_attention, of one row"): _AN_ERROR,
    ("Linear algebra and rare operators, of finite rows", "nanquantile"): _NO_ERROR,
    ("Images of any number of steps", "adaptive_avg_pool2d(1)"): _GUARDED,
    ("Images of any number of steps", "adaptive_avg_pool2d((None, 3))"): _NO_ERROR,
    ("Images of any number of steps", "upsample(bilinear)"): _NO_ERROR,
    ("Images of any number of steps", "instance_norm"): _GUARDED,
    ("Images of any number of steps", "group_norm"): _GUARDED,
    ("Images of any number of steps", "local_response_norm"): _AN_ERROR,
    ("Images of any number of steps", "upsample(nearest)"): _NO_ERROR,
    ("Images of any number of steps", "upsample(bicubic)"): _NO_ERROR,
    ("Images of any number of steps", "unfold(2)"): _NO_ERROR,
}
"""By family and operator, what is another result than eager's where there are no values, in words for the page."""


def _process() -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _run(model: bytes, inputs: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    return list(OnnxRunner(model)(inputs).values())


class EmptyRuns:
    """Runs of a family's graph on inputs without values. A context manager."""

    def __init__(self, family: Family, model: onnx.ModelProto) -> None:
        """Prepare.

        Args:
            family: The operators.
            model: All of them in one graph, exported for sizes of 0, too.
        """
        self.inputs = [tensor.narrow(family.axis, 0, 0) for tensor in family.inputs]
        self._feeds = {f"x{at}": tensor.numpy() for at, tensor in enumerate(self.inputs)}
        self._model = model
        self._producers = {output: node for node in model.graph.node for output in node.output}
        self._process = _process()

    def __enter__(self) -> "EmptyRuns":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.shutdown(cancel_futures=True)

    def eager(self, compute: Callable[..., list[torch.Tensor]]) -> list[torch.Tensor] | None:
        """Compute eager's results. None if eager raises an error."""
        with warnings.catch_warnings(), contextlib.suppress(RuntimeError, IndexError):
            warnings.simplefilter("ignore")  # the warning that there are no degrees of freedom
            return compute(self.inputs)
        return None

    def __call__(self, outputs: Sequence[str]) -> list[npt.NDArray[Any]] | str:
        """Run the part of the graph for some outputs. Returns them, or the error's message."""
        try:
            return self._process.submit(_run, self._part(outputs), self._feeds).result(_SECONDS)
        except BrokenProcessPool:
            self._process = _process()
            return "onnxruntime ended the process that ran the model"
        except RuntimeError as error:
            return str(error)

    def _part(self, outputs: Sequence[str]) -> bytes:
        """Extract the nodes that the outputs need from the graph."""
        graph, needed, waiting = self._model.graph, set(), list(outputs)
        while waiting:
            node = self._producers.get(waiting.pop())
            if node is not None and id(node) not in needed:
                needed.add(id(node))
                waiting.extend(_read(node))
        part = onnx.ModelProto()
        part.CopyFrom(self._model)
        del part.graph.node[:], part.graph.output[:]
        part.graph.node.extend(node for node in graph.node if id(node) in needed)
        part.graph.output.extend(value for value in graph.output if value.name in outputs)
        return part.SerializeToString()


def _read(node: onnx.NodeProto) -> Iterable[str]:
    """Yield the names that a node reads, also within its subgraphs."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                yield from _read(inner)

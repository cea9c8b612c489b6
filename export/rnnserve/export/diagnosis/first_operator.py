"""The first operator of a module whose result an exported graph does not have: for messages of proofs that fail."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rnnserve.export.description.described_model import DescribedModel, evaluating
from rnnserve.export.diagnosis.graph_values import GraphValues
from rnnserve.export.diagnosis.graph_walk import KnownTensors, counts, same_values
from rnnserve.export.first_non_finite import Origin, origin_of, paths_of
from rnnserve.export.input_drawing import draw_inputs
from rnnserve.export.module_interface import Arrays, flatten_results
from rnnserve.protos.protocol_words import BATCH

__all__ = ["differing_operator"]

_SCALES = (1.0, 0.0, 1e-3, 30.0, 1000.0)  # of floats: what a proof draws, in short
_ROWS, _STEPS = 3, 6
_NAMED = (nn.RNNBase, nn.RNNCellBase)  # whose operators are named as the module


@dataclasses.dataclass(frozen=True)
class _Run:
    """One operator that has run.

    Attributes:
        origin: Its name and line.
        inputs: Keys of the tensors that it took.
        outputs: Keys and copies of those that it gave.
    """

    origin: Origin
    inputs: frozenset[int]
    outputs: Mapping[int, npt.NDArray[Any]]


def differing_operator(model: DescribedModel, onnx_model: bytes) -> str:
    """Name the first operator of a module whose result an exported graph does not have.

    An operator is named only if a wrong output is computed from it, and nothing that is computed from it on the way is
    in the graph, as in `first_wrong_node`.

    Args:
        model: Model whose proof has failed.
        onnx_model: Made from it.

    Returns:
        A sentence without its full stop; empty where the outputs do not differ on a few inputs of each kind.
    """
    graph = onnx.load_model_from_string(onnx_model)
    for arrays in _drawn(model):
        with contextlib.suppress(Exception), evaluating(model.module):  # what raises is told by the proof itself
            found = GraphValues(graph, arrays)
            recorder = _Recorder()
            with torch.no_grad(), paths_of(model.module, recorder.path), recorder:
                results = flatten_results(model.module(*model.interface.arguments(arrays)))
            wrong = {
                id(result)
                for name, result in zip(model.interface.outputs, results, strict=True)
                if not same_values(found.values[name], result.numpy())
            }
            origin = (
                _first(recorder.runs, wrong, KnownTensors([found.values[name] for name in found.variable]))
                if wrong
                else None
            )
            if origin is not None:
                return f"the first operator whose result differs is {_named(origin, model.module)}"
    return ""


def _drawn(model: DescribedModel) -> Iterator[Arrays]:
    sizes = {axis: min(max(_ROWS if axis == BATCH else _STEPS, low), high) for axis, (low, high) in model.sizes.items()}
    for number, scale in enumerate(_SCALES):
        arrays = draw_inputs(model.inputs, np.random.default_rng(number), sizes, ragged=number > 0)
        yield {
            name: (array * scale).astype(array.dtype) if array.dtype.kind == "f" else array
            for name, array in arrays.items()
        }


def _first(runs: Sequence[_Run], wrong: set[int], known: KnownTensors) -> Origin | None:
    """Give the first operator that only leads to wrong results."""
    suspects = _ancestors(runs, wrong)
    right = {key for run in runs for key, array in run.outputs.items() if known.has(array)}
    rejoining = _ancestors(runs, right)
    for run in runs:
        for key, array in run.outputs.items():
            if key in suspects and key not in rejoining and counts(array):
                return run.origin
    return None


def _ancestors(runs: Sequence[_Run], keys: set[int]) -> set[int]:
    found = set(keys)
    for run in reversed(runs):
        if not found.isdisjoint(run.outputs):
            found |= run.inputs
    return found


def _named(origin: Origin, module: nn.Module) -> str:
    line = f" ({origin.line})" if origin.line else ""
    of = dict(module.named_modules()).get(origin.module)
    name = f'{type(of).__name__} "{origin.module}"' if isinstance(of, _NAMED) else str(origin)
    return f"{name}{line}"


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no type for its subclassing
    """Keeps what every operator gives.

    Attributes:
        path: Names of the modules that are running, the outermost first.
        runs: The operators, in their order.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nor for this
        self.path: list[str] = []
        self.runs: list[_Run] = []
        self._alive: list[Tensor] = []  # so that no other tensor has the same id

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - as torch declares it
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operator, and keep copies of its results: operators may write to them later."""
        del types
        result = func(*args, **(kwargs or {}))
        given, gave = _tensors((args, kwargs)), _tensors(result)
        self._alive += given + gave
        outputs = {id(each): each.detach().numpy().copy() for each in gave if each.dtype != torch.bfloat16}
        self.runs.append(_Run(origin_of(func, self.path), frozenset(map(id, given)), outputs))
        return result


def _tensors(values: Any) -> list[Tensor]:  # noqa: ANN401 - what operators take and give
    return [leaf for leaf in torch.utils._pytree.tree_leaves(values) if isinstance(leaf, Tensor)]  # noqa: SLF001

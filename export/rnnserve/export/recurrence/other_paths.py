"""Conditions on sizes in the user's code, `if x.size(1) == 1`: harmless where the other path gives the same values.

A captured program has the path of the sample's sizes. Modules have others for one step, for a batch that an attribute
names, for a state of another size. At such a size the exported model is run beside the module.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.module_interface import flatten_results
from rnnserve.export.recurrence.argument_types import Arguments
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes, resize

__all__ = ["OtherPath", "check_other_paths"]

_RELATIVE, _ABSOLUTE = 1e-4, 1e-5
_DRAWS = 2


@dataclasses.dataclass(frozen=True)
class OtherPath:
    """Sizes at which the module's code takes another path than at the sample's.

    Attributes:
        sizes: Sizes of the dynamic axes, by name.
        refusal: What is raised if the values are others there.
    """

    sizes: Mapping[str, int]
    refusal: UnsupportedModule


def check_other_paths(
    paths: Sequence[OtherPath],
    module: nn.Module,
    args: Arguments,
    axes: DynamicAxes,
    input_names: Sequence[str],
    program: torch.onnx.ONNXProgram,
) -> None:
    """Compare an exported model with its module at sizes of other paths.

    Args:
        paths: Sizes, each with a refusal.
        module: The module.
        args: Sample arguments.
        axes: Dynamic axes of the arguments.
        input_names: One name per tensor among them.
        program: The model, as it is exported.

    Raises:
        UnsupportedModule: If values differ at one of them, or the module gives none for the sample's integers.
    """
    if not paths:
        return
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    taken = {value.name for value in session.get_inputs()}
    for path in paths:
        for seed in range(_DRAWS):
            given = _drawn(resize(args, axes, path.sizes), seed)
            tensors = [leaf for leaf in torch.utils._pytree.tree_leaves(given) if isinstance(leaf, Tensor)]  # noqa: SLF001
            feeds = {name: each.numpy() for name, each in zip(input_names, tensors, strict=True) if name in taken}
            try:
                with torch.no_grad():
                    expected = flatten_results(module(*given))
                found = session.run(None, feeds)
            except Exception as error:  # whatever the module raises, or onnxruntime does
                raise path.refusal from error
            if not all(_same(one, other) for one, other in zip(found, expected, strict=True)):
                raise path.refusal


def _drawn(args: Arguments, seed: int) -> Arguments:
    """Draw the floats among arguments; integers stay, which are within their bounds."""
    generator = torch.Generator().manual_seed(seed)
    drawn: Arguments = torch.utils._pytree.tree_map_only(  # noqa: SLF001
        Tensor,
        lambda each: (
            torch.randn(each.shape, generator=generator, dtype=each.dtype) if each.is_floating_point() else each
        ),
        args,
    )
    return drawn


def _same(found: np.ndarray, expected: Tensor) -> bool:
    other = expected.numpy()
    if found.shape != other.shape or found.dtype != other.dtype:
        return False
    return np.allclose(found, other, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)

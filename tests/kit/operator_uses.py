"""Uses of PyTorch's operators, exported together as one module and compared with eager."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.parity import OnnxRunner

Use = Callable[[torch.Tensor], Any]


class _Uses(nn.Module):
    def __init__(self, uses: Iterable[Use]) -> None:
        super().__init__()
        self.uses = tuple(uses)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(result for use in self.uses for result in _results(use(x)))


class ExportedUses:
    """The graph of several uses of x, whose axes are dynamic where `axes` names them."""

    def __init__(
        self,
        uses: Mapping[str, Use],
        sample: torch.Tensor,
        *,
        axes: Mapping[int, str] | None = None,
        sizes: Mapping[str, tuple[int, int | None]] | None = None,
    ) -> None:
        self._uses = uses
        with torch.no_grad():
            self._names = [name for name, use in uses.items() for _ in _results(use(sample))]
        program = export_onnx(
            _Uses(uses.values()).eval(),
            (sample,),
            input_names=["x"],
            output_names=[f"y{at}" for at in range(len(self._names))],
            dynamic_shapes=(dict(axes or {0: "batch"}),),
            sizes=dict(sizes or {}),
        )
        self.model = program.model_proto
        self.run = OnnxRunner(self.model.SerializeToString())

    def check(self, x: torch.Tensor, *, rtol: float, atol: float) -> None:
        """Compare the results with eager's: shapes, types and values, with NaN at the same places."""
        with torch.no_grad():
            expected = [result for use in self._uses.values() for result in _results(use(x))]
        found = self.run({"x": x.numpy()}).values()
        for name, one, other in zip(self._names, expected, found, strict=True):
            said = functools.partial("{}: {}".format, name)
            torch.testing.assert_close(torch.from_numpy(other), one, rtol=rtol, atol=atol, equal_nan=True, msg=said)


def check_uses(uses: Mapping[str, Use], x: torch.Tensor, *, rtol: float, atol: float) -> None:
    """Export uses with the first rows of x, and compare them on all rows."""
    ExportedUses(uses, x[:3]).check(x, rtol=rtol, atol=atol)


def _results(given: Any) -> tuple[torch.Tensor, ...]:
    return tuple(given) if isinstance(given, tuple | list) else (given,)

"""The rolled program as a module, which is captured with symbolic sizes as any other."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from rnnserve.export.recurrence.roll.fitting import Element
from rnnserve.export.recurrence.roll.items import CONSTANT, SCAN, STATE, decoded
from rnnserve.export.recurrence.roll.scanning import evaluated, stacked_outputs
from rnnserve.export.recurrence.roll.tracing import Traced
from rnnserve.export.torch_adapter import lines_of, tree_leaves, tree_unflatten

__all__ = ["Rolled"]


class Rolled(nn.Module):
    """Computes what a module computes, for all sizes.

    Args:
        elements: Operations of the program.
        program: One of the traces, which has the parameters and the structure of the results.
        sizes_at: By the name of a size, the number of a tensor among the arguments, and its axis.
        least: The smallest sizes that the module takes, by name.
    """

    def __init__(
        self,
        elements: Sequence[Element],
        program: Traced,
        sizes_at: Mapping[str, tuple[int, int]],
        least: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.elements, self.sizes_at, self.least = tuple(elements), dict(sizes_at), dict(least)
        self.results = program.results
        self.held: dict[int, tuple[nn.Module, str]] = {}
        self.outputs = stacked_outputs((each.target, each.form, each.references) for each in elements)
        for number, element in enumerate(elements):
            if element.target in (STATE, CONSTANT):
                name = element.form[0] if element.target == STATE else element.form[2]
                held = program.states if element.target == STATE else program.constants
                self.held[number] = self._hold(name, held[name])

    def _hold(self, path: str, value: Any) -> tuple[nn.Module, str]:  # noqa: ANN401 - a parameter or a buffer
        """Register a tensor under the user's name."""
        *folders, name = path.split(".")
        owner: nn.Module = self
        for folder in folders:
            if folder not in owner._modules:  # noqa: SLF001 - that a module has them is documented
                owner.add_module(folder, nn.Module())
            owner = owner.get_submodule(folder)
        owner.register_buffer(name, value)
        return owner, name

    def forward(self, *args: Any) -> Any:  # noqa: ANN401 - the user's
        """Compute the results."""
        leaves = tree_leaves(args)
        tensors = [each for each in leaves if isinstance(each, Tensor)]
        sizes = {name: tensors[number].shape[axis] for name, (number, axis) in self.sizes_at.items()}
        values: list[Any] = []
        for number, element in enumerate(self.elements):
            references = [values[each] for each in element.references]
            numbers = [each(sizes) for each in element.numbers]
            match element.target:
                case "input":
                    values.append(tensors[element.form[0]])
                case "state" | "constant":
                    values.append(getattr(*self.held[number]))
                case "output":
                    results = decoded(element.form, iter(references), iter(numbers))
                    return tree_unflatten(results, self.results)
                case target:
                    least = element.numbers[0](self.least) if target == SCAN else 0
                    with lines_of(element.meta):
                        values.append(
                            evaluated(target, element.form, references, numbers, self.outputs.get(number, ()), least)
                        )
        raise AssertionError("a program has results")

"""What of a module's functions is changed while it is captured: checks, branches, loops; and telling the user of it."""

import dataclasses
import types
import warnings
from collections.abc import Collection

from torch import nn

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Arguments
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes
from rnnserve.export.recurrence.loops.functions import (
    functions_exchanged,
    rewritten_functions,
    value_branch,
    value_check,
)
from rnnserve.export.recurrence.other_paths import OtherPath
from rnnserve.export.recurrence.refusals import DependsOnValues
from rnnserve.export.recurrence.size_probing import Limits
from rnnserve.export.recurrence.written_scans.comparison import results_at_sizes, same_results
from rnnserve.export.source_lines import source_line

__all__ = ["Changed"]

_Place = tuple[str, int]


@dataclasses.dataclass
class Changed:
    """What is changed so far.

    Attributes:
        unchecked: Files and lines of checks of values that are left out.
        chosen: Files and lines of branches on values of which both sides run.
        written: Places of functions with a loop that is written anew as a scan.
        paths: Sizes at which values of the exported module are compared, for a size that code makes a plain number.
        is_stateless: Whether it has been found that the module, with these changes, carries no state from call to call.
    """

    unchecked: list[_Place] = dataclasses.field(default_factory=list)
    chosen: list[_Place] = dataclasses.field(default_factory=list)
    written: list[str] = dataclasses.field(default_factory=list)
    paths: list[OtherPath] = dataclasses.field(default_factory=list)
    is_stateless: bool = False

    def functions(self, module: nn.Module, *, loops: bool = False) -> list[tuple[types.FunctionType, types.CodeType]]:
        """Give the functions that are changed, with the code to run; with `loops`, those that have a loop, too."""
        if not loops and not self.unchecked and not self.chosen:
            return []
        return rewritten_functions(module, self.unchecked, self.chosen, loops=loops)

    def check_in(self, module: nn.Module, refused: UnsupportedModule) -> _Place | None:
        """Give the check of values that a capture was refused for, and that may be left out; None where none is."""
        return value_check(module, self._new(refused))

    def goes_on(
        self, module: nn.Module, args: Arguments, axes: DynamicAxes, sizes: Limits, refused: DependsOnValues
    ) -> bool:
        """Change what a capture was refused for; False where that cannot be.

        Both sides of a branch may run where the module, with that change alone, gives the same results.
        """
        self.is_stateless = False  # what raises is not found to carry one
        check = self.check_in(module, refused)
        if check is not None:
            self.unchecked.append(check)
            return True
        branch = value_branch(module, self._new(refused))
        if branch is None:
            return False
        chosen = [*self.chosen, branch]
        expected = results_at_sizes(module, args, axes, sizes)
        with functions_exchanged(rewritten_functions(module, (), chosen, loops=False)):
            found = results_at_sizes(module, args, axes, sizes)
        if expected is None or found is None or not same_results(expected, found):
            return False
        self.chosen = chosen
        return True

    def warn(self, unchecked: Collection[str] = ()) -> None:
        """Tell the user; of the distributions, too, that make no checks of their arguments."""
        if unchecked:
            warnings.warn(
                f"the exported module does not check the arguments of distributions ({', '.join(sorted(unchecked))})",
                stacklevel=3,
            )
        for file, line in self.unchecked:
            warnings.warn(f"the exported module makes no check of values at {source_line(file, line)}", stacklevel=3)
        for file, line in self.chosen:
            warnings.warn(
                f"the exported module computes both sides of the branch at {source_line(file, line)}, and chooses",
                stacklevel=3,
            )
        for place in self.written:
            warnings.warn(
                f"the function at {place} has a loop that is exported in another form, as a scan: it computes both "
                "sides of branches, and gave the same values",
                stacklevel=3,
            )

    def _new(self, refused: UnsupportedModule) -> list[_Place]:
        places = refused.places if isinstance(refused, DependsOnValues) else ()
        return [place for place in places if place not in self.unchecked and place not in self.chosen]

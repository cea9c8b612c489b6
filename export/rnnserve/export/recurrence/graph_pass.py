"""A pass: one change or check of the program that is exported, with its name and what holds after it."""

import dataclasses
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from rnnserve.export.errors import ExportError, FailedPass

__all__ = ["GraphPass"]

Subject = TypeVar("Subject")


@dataclasses.dataclass(frozen=True)
class GraphPass(Generic[Subject]):
    """A function that changes or checks its subject in place.

    Attributes:
        name: Name in messages, that of the function.
        ensures: What holds after it, a sentence.
        run: The function.
    """

    name: str
    ensures: str
    run: Callable[[Subject], None]

    def __call__(self, subject: Subject) -> None:
        """Run the pass.

        Raises:
            ExportError: If the pass refuses the module; OSError and MemoryError stay what they are, too.
            FailedPass: If the pass raises anything else, which is the cause.
        """
        try:
            self.run(subject)
        except (ExportError, OSError, MemoryError):  # refusals, and the surroundings: commands have a line for each
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise FailedPass(
                self.name,
                f"the export's pass {self.name} failed: {said} (line {place.lineno} of {place.filename}). It ensures: "
                f"{self.ensures} The module may be right: this is a defect of rnnserve, or torch, onnx or onnx_ir is "
                "of a version that it was not tested with",
            ) from error

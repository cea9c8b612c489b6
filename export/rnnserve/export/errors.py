"""What can go wrong between a module and a published artifact.

::

    ExportError
    ├── UnsupportedModule      the module does something that has no right ONNX form; says what, where and why
    ├── WrongArguments         names, sample arguments and dynamic shapes that do not fit the module or each other
    ├── BrokenPostcondition    the exporter gave something else than was asked for; nothing is returned
    ├── FailedPass             a pass of the export failed, which is a defect; has its name, and the cause
    ├── ParityError            eager, TorchScript and ONNX do not compute the same; has everything that differs
    └── PublishingFailed       the repository cannot be written (also an OSError); nothing was published
"""

from collections.abc import Sequence

__all__ = [
    "BrokenPostcondition",
    "ExportError",
    "FailedPass",
    "ParityError",
    "PublishingFailed",
    "UnsupportedModule",
    "WrongArguments",
]


class ExportError(Exception):
    """A module could not be exported, proven or published; the message says why."""


class UnsupportedModule(ExportError):
    """The module does something that would be exported wrong, so it is not exported."""


class WrongArguments(ExportError):
    """The names, the sample arguments or the dynamic shapes do not fit the module or each other."""


class BrokenPostcondition(ExportError):
    """The exported graph is not what was asked for: a lost axis, a missing name, a layer too many or too few."""


class FailedPass(ExportError):
    """A pass of the export raised what is no refusal; `__cause__` is what it raised.

    Attributes:
        name: The pass, one of those of docs/reference/passes.md.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class ParityError(ExportError):
    """Eager, TorchScript and ONNX do not compute the same, so nothing is published.

    Attributes:
        failures: Everything that differs, a line each: what, where, expected, found, and the limit.
    """

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        super().__init__("\n".join(self.failures))


class PublishingFailed(ExportError, OSError):
    """A version could not be written, as on a full or a read-only disk: it is not published, and the message says so.

    Attributes:
        errno: The system's number of the error.
    """

    def __init__(self, message: str, errno: int | None) -> None:
        super().__init__(message)
        self.errno = errno

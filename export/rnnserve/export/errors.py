"""Errors of exporting, verifying and publishing a module.

::

    ExportError
    ├── UnsupportedModule      the module's code can't be exported correctly; names the line and the reason
    ├── WrongArguments         names, sample arguments or dynamic shapes don't fit the module or each other
    ├── BrokenPostcondition    the exported graph isn't the requested one; nothing is returned
    ├── FailedPass             a pass of the export failed, which is a bug; has the pass's name and the cause
    ├── ParityError            eager, TorchScript and ONNX compute different results; lists every difference
    └── PublishingFailed       the repository can't be written (also an OSError); nothing was published
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
    """A module could not be exported, verified or published. The message contains the reason."""


class UnsupportedModule(ExportError):
    """The module isn't exported, because the export would compute wrong results."""


class WrongArguments(ExportError):
    """The names, the sample arguments or the dynamic shapes don't fit the module or each other."""


class BrokenPostcondition(ExportError):
    """The exported graph isn't the requested one: an axis or a name is missing, or the number of layers is wrong."""


class FailedPass(ExportError):
    """A pass of the export raised an unexpected error, which is the `__cause__` of this one.

    Attributes:
        name: The name of the pass, which is a function in the cause's traceback.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class ParityError(ExportError):
    """Eager, TorchScript and ONNX compute different results, so nothing is published.

    Attributes:
        failures: All differences, one line each: the value, its position, the expected and the actual number, and the
            limit.
    """

    def __init__(self, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        super().__init__("\n".join(self.failures))


class PublishingFailed(ExportError, OSError):
    """A version could not be written and isn't published, for example because the disk is full or read-only.

    Attributes:
        errno: The operating system's error number.
    """

    def __init__(self, message: str, errno: int | None) -> None:
        super().__init__(message)
        self.errno = errno

"""What can go wrong between a module and a published artifact.

    ExportError
    ├── UnsupportedModule      the module does something that has no right ONNX form; says what, where and why
    ├── WrongArguments         names, sample arguments and dynamic shapes that do not fit the module or each other
    └── BrokenPostcondition    the exporter gave something else than was asked for; nothing is returned
"""

__all__ = ["BrokenPostcondition", "ExportError", "UnsupportedModule", "WrongArguments"]


class ExportError(Exception):
    """A module could not be exported, proven or published; the message says why."""


class UnsupportedModule(ExportError):
    """The module does something that cannot be exported right, so it is not exported at all."""


class WrongArguments(ExportError):
    """The names, the sample arguments or the dynamic shapes do not fit the module or each other."""


class BrokenPostcondition(ExportError):
    """The exported graph is not what was asked for: a lost axis, a missing name, a layer too many or too few."""

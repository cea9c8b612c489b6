"""Runs at the start of every Python process of a mutation run, from PYTHONPATH: changes a module as it is imported.

The file of the mutant MUTANT_NUMBER is compiled with its change. Files on disk stay as they are, so several mutants can
run side by side in one tree.
"""

import importlib.util
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

_HERE = Path(__file__).resolve().parent


def _load_mutant() -> Any:
    spec = importlib.util.spec_from_file_location("_mutant", _HERE.parent / "mutant.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_mutant"] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return next(each for each in module.read_drawn() if each.number == int(os.environ["MUTANT_NUMBER"]))


def _change_imports(mutant: Any) -> None:
    get_code = SourceFileLoader.get_code

    def changed_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        if not self.path.replace(os.sep, "/").endswith("/" + mutant.file):
            return get_code(self, fullname)
        return compile(mutant.apply(self.get_data(self.path).decode()), self.path, "exec", dont_inherit=True)

    SourceFileLoader.get_code = changed_code  # type: ignore[method-assign, assignment]


if "MUTANT_NUMBER" in os.environ:
    _change_imports(_load_mutant())

# There is one sitecustomize per process: run the one that this file hides.
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != _HERE]
sys.modules.pop("sitecustomize", None)
if importlib.util.find_spec("sitecustomize") is not None:
    importlib.import_module("sitecustomize")

"""Names on a command line: of publications (`FILE.py:NAME` or `package.module:NAME`) and of models.

Commands report mistakes in names before they import torch, which takes seconds. So this file imports nothing that
imports torch.
"""

import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from rnnserve.export.errors import WrongArguments
from rnnserve.protos.names import is_model_name

if TYPE_CHECKING:
    from rnnserve.export.description.publication import Publication

T = TypeVar("T")


def check_model_name(name: str) -> None:
    """Check that a name is valid for a model's folder."""
    if not is_model_name(name):
        raise WrongArguments(
            f"the name {name!r} cannot name a model's folder. Use letters, digits, _, . and -, and begin with a "
            "letter, a digit or _"
        )


def is_target(word: str) -> bool:
    """Whether an argument names a Python object instead of a checkpoint."""
    return ":" in word or word.endswith(".py")


def check_target(target: str) -> tuple[str, str]:
    """Check a target without importing it, which takes seconds. Returns the file or module, and the name in it."""
    source, _, name = target.rpartition(":")
    if not source or not name:
        raise WrongArguments(f"{target}: the object's name is missing; write {target.removesuffix(':')}:NAME")
    if source.endswith(".py"):
        path = Path(source)
        if not path.is_file():
            raise WrongArguments(f"there is no file {source}{similar_path(path, '*.py')}")
        return source, name
    if "/" in source:
        raise WrongArguments(f"{target}: a file's name must end with .py. Did you mean {source}.py:{name}?")
    _search(Path.cwd())
    package = source.partition(".")[0]
    if not package or (package not in sys.modules and importlib.util.find_spec(package) is None):
        raise WrongArguments(f"{target}: there is no module {package!r} in this folder or among the installed packages")
    return source, name


def load_publications(target: str) -> "list[Publication]":
    """Import a target and return its publications.

    NAME is a `Publication`, a list of them, or a function without arguments that returns either. Its imports are
    searched in the folder of FILE.py and in the current folder.
    """
    from rnnserve.export.description.publication import Publication

    def stands_for_publications(value: object) -> bool:
        several = value if isinstance(value, list | tuple) else [value]
        return bool(several) and all(isinstance(each, Publication) for each in several)

    source, name = check_target(target)
    module = _import(source)
    try:
        found = getattr(module, name)
    except AttributeError:
        known = sorted(key for key, value in vars(module).items() if stands_for_publications(value))
        hint = f"; it has {', '.join(known)}" if known else ""
        raise WrongArguments(f'{source} has no "{name}"{hint}') from None
    if callable(found) and not isinstance(found, type | Publication):
        found = _guarded(target, found)
    publications = [found] if isinstance(found, Publication) else found
    if isinstance(publications, list | tuple) and not publications:
        raise WrongArguments(f"{target} is an empty list; expected at least one Publication")
    if not stands_for_publications(publications):
        raise WrongArguments(
            f"{target} is a {type(found).__name__}; expected a Publication, a list of them, or a function that returns "
            "either"
        )
    return list(publications)


def _import(source: str) -> ModuleType:
    _search(Path.cwd())
    if not source.endswith(".py"):
        return _guarded(source, lambda: importlib.import_module(source))
    path = Path(source)
    _search(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise WrongArguments(f"{source} cannot be imported")
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    sys.modules[path.stem] = module  # like a regular import: dataclasses and scripting look up their module
    _guarded(source, lambda: loader.exec_module(module))
    return module


def _guarded(what: str, run: Callable[[], T]) -> T:
    """Run the user's code. If it raises, the error becomes one line with the file and line number."""
    try:
        return run()
    except WrongArguments:
        raise
    except SyntaxError as error:  # its position is in the error; the frames are Python's own
        raise WrongArguments(f"{what}: {error.msg} (line {error.lineno} of {error.filename})") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(str(error).split())
        raise WrongArguments(
            f"{what}: {type(error).__name__}: {said} (line {place.lineno} of {place.filename})"
        ) from error


def _search(folder: Path) -> None:
    """Let imports find the modules in a folder."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def similar_path(path: Path, pattern: str = "*") -> str:
    """Suggest the path with the most similar name in the same folder, for messages. Empty if no name is similar."""
    names = [each.name for each in path.parent.glob(pattern)] if path.parent.is_dir() else []
    found = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / found[0]}?" if found else ""

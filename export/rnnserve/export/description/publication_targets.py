"""Finding publications by name: `FILE.py:NAME`, or `package.module:NAME`."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from rnnserve.export.description.publication import Publication
from rnnserve.export.description.target_names import check_target, search, split_target
from rnnserve.export.errors import WrongArguments

__all__ = ["load_publications"]


def load_publications(target: str) -> list[Publication]:
    """Import a target and read the publications that it stands for.

    Args:
        target: `FILE.py:NAME` or `package.module:NAME`; NAME is a `Publication`, a list of them, or a function without
            arguments that returns either. The folder of FILE.py, and the current one, are searched for its imports.

    Raises:
        WrongArguments: If there is no such thing, or importing it fails.
    """
    source, name = split_target(target)
    check_target(target)
    module = _import(source)
    try:
        found = getattr(module, name)
    except AttributeError:
        known = sorted(key for key, value in vars(module).items() if _stands_for_publications(value))
        hint = f"; it has {', '.join(known)}" if known else ""
        raise WrongArguments(f'{source} has no "{name}"{hint}') from None
    if callable(found) and not isinstance(found, type | Publication):
        found = _guarded(target, found)
    publications = [found] if isinstance(found, Publication) else found
    if not isinstance(publications, list | tuple) or not all(isinstance(each, Publication) for each in publications):
        raise WrongArguments(
            f"{target} is a {type(found).__name__}; expected a Publication, a list of them, or a function that returns "
            "either"
        )
    if not publications:
        raise WrongArguments(f"{target} is an empty list: there is nothing to publish")
    return list(publications)


def _import(source: str) -> ModuleType:
    search(Path.cwd())
    if not source.endswith(".py"):
        return _guarded(source, lambda: importlib.import_module(source))
    path = Path(source)
    search(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise WrongArguments(f"{source} cannot be imported")
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    sys.modules[path.stem] = module  # as an import does: dataclasses and scripting look their module up
    _guarded(source, lambda: loader.exec_module(module))
    return module


T = TypeVar("T")


def _guarded(what: str, run: Callable[[], T]) -> T:
    """Run the user's code; what it raises becomes one line that names the place."""
    try:
        return run()
    except WrongArguments:
        raise
    except SyntaxError as error:  # which holds its place, unlike the frames: those are Python's own
        raise WrongArguments(f"{what}: {error.msg} (line {error.lineno} of {error.filename})") from error
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(str(error).split())
        raise WrongArguments(
            f"{what}: {type(error).__name__}: {said} (line {place.lineno} of {place.filename})"
        ) from error


def _stands_for_publications(value: object) -> bool:
    return isinstance(value, Publication) or (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(each, Publication) for each in value)
    )

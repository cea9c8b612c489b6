"""torch's registry of translations, built once in a process and not once an export.

`torch.onnx.export` reads the source of each of its translations and parses it, at every call: half of the time that the
export of a small module takes. What it builds depends on nothing of the module; so an export here takes a copy of the
registry that an earlier one has built, as long as torch's dispatcher and onnxscript have the same operators. The
translations of this package are registered in each copy: the signature of each function is read once.
"""

import contextlib
import copy
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch

__all__ = ["registry_kept"]

_LOCK = threading.Lock()
_kept: tuple[object, Any] | None = None  # what it was built from, and the registry


@contextlib.contextmanager
def registry_kept() -> Iterator[None]:
    """Have torch.onnx.export in the context take a copy of the registry that was built before.

    Exports of other threads in the meantime take one, too: it is what they would have built. Where a later torch has
    its registry elsewhere, each export builds it anew.
    """
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:
        yield
        return
    built = ONNXRegistry.__dict__.get("from_torchlib")
    if not isinstance(built, classmethod):
        yield
        return
    # torch calls it on the class and on an instance.
    ONNXRegistry.from_torchlib = staticmethod(_keeping(built.__get__(None, ONNXRegistry)))  # type: ignore[method-assign]
    try:
        with _signatures_kept():
            yield
    finally:
        ONNXRegistry.from_torchlib = built  # type: ignore[method-assign, assignment]


@contextlib.contextmanager
def _signatures_kept() -> Iterator[None]:
    """Have torch read the signature of a translation once; where a later torch reads it elsewhere, each time."""
    try:
        from torch.onnx._internal.exporter import _schemas
    except ImportError:
        yield
        return
    read = getattr(_schemas, "op_signature_from_function", None)
    if read is None:
        yield
        return
    _schemas.op_signature_from_function = lambda *args, **options: _signature(read, args, tuple(options.items()))
    try:
        yield
    finally:
        _schemas.op_signature_from_function = read


@functools.lru_cache(maxsize=1024)
def _signature(read: Callable[..., Any], args: tuple[Any, ...], options: tuple[tuple[str, Any], ...]) -> Any:  # noqa: ANN401 - torch's
    return read(*args, **dict(options))


def _keeping(build: Callable[..., Any]) -> Callable[..., Any]:
    def from_torchlib(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - torch's own arguments and result
        global _kept  # of the process, like the translations
        origin = (args, options, _operators())
        with _LOCK:
            if _kept is None or _kept[0] != origin:
                registry = build(*args, **options)
                _kept = ((args, options, _operators()), registry)  # torch loads operators while it builds
            return _copy(_kept[1])

    return from_torchlib


def _operators() -> frozenset[str]:
    """Names of the operators that torch has, in this process, so far: libraries add theirs when they are imported."""
    return frozenset(torch._C._dispatch_get_all_op_names())  # noqa: SLF001 - there is no public way


def _copy(registry: Any) -> Any:  # noqa: ANN401 - torch's
    """Copy a registry, so that translations that an export registers stay its own."""
    copied = copy.copy(registry)
    copied.functions = {target: list(translations) for target, translations in registry.functions.items()}
    return copied

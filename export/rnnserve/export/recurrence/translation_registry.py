"""torch's registry of translations, built once in a process and not once an export, and without reading their sources.

`torch.onnx.export` reads the source of each of its translations and parses it, at every call: half of the time that the
export of a small module takes. What it builds depends on nothing of the module, so an export here takes a copy of the
registry that an earlier one has built, as long as torch's dispatcher and onnxscript have the same operators. For that
one, too, sources are not parsed, which took half a second of each process that exports: torch reads the signature of a
translation when it calls one that has none.
"""

import contextlib
import copy
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
        with _sources_unread():
            yield
    finally:
        ONNXRegistry.from_torchlib = built  # type: ignore[method-assign, assignment]


@contextlib.contextmanager
def _sources_unread() -> Iterator[None]:
    """Have torch and onnxscript register translations without parsing them; where later ones do so elsewhere, parsed.

    Nothing reads the signatures that are registered: `eval_function` of torch's recorder reads that of an
    `OnnxFunction` again, and other functions are called as they are. Of a traced function's form in ONNX, onnxscript
    reads the domain only.
    """
    with contextlib.ExitStack() as restored:
        with contextlib.suppress(ImportError, KeyError):
            from torch.onnx._internal.exporter._registration import OnnxDecompMeta

            _replace(restored, OnnxDecompMeta, "__post_init__", lambda _: None)
        with contextlib.suppress(ImportError, KeyError):
            from onnxscript.values import TracedOnnxFunction

            parse = TracedOnnxFunction.__dict__["function_ir"].__get__
            _replace(restored, TracedOnnxFunction, "function_ir", property(lambda it: _Unparsed(it, parse)))
        yield


def _replace(restored: contextlib.ExitStack, owner: type, name: str, value: object) -> None:
    restored.callback(setattr, owner, name, owner.__dict__[name])
    setattr(owner, name, value)


class _Unparsed:
    """What is known of a traced function's form in ONNX before its source is parsed."""

    def __init__(self, function: Any, parse: Callable[[Any], Any]) -> None:  # noqa: ANN401 - onnxscript's
        self.domain: str = function.opset.domain
        self._function = function
        self._parse = parse

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - of onnxscript
        """Parse the source after all, for a later onnxscript that asks for more."""
        return getattr(self._parse(self._function), name)


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

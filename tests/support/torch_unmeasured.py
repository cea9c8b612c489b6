"""Coverage that does not follow torch's exporter into its own Python.

With coverage's tracer each call and line of Python costs more, whether it is of this project or not, and an export
runs some 300,000 lines of torch's: that took half of the time of an export that is measured. So the tracer pauses in
torch where it captures, decomposes, translates or compiles, and goes on in what torch calls of this project's there:
the modules' forwards with what is exchanged in them, modes, shapes of operators, and translations.

What torch calls of this project's besides, tables that are kept, is measured in the tests of `FOLLOWED`, which are
about it: the tracer follows torch there.
"""

import functools
import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

__all__ = ["FOLLOWED", "follow", "leave_out", "paused", "resumed"]

FOLLOWED = tuple(
    f"tests/export/recurrence/test_{name}.py"
    for name in ("decomposition_tables", "passes", "translation_registry", "undecomposed")
)

_PAUSING = (
    ("torch.export", "export"),
    ("torch.onnx._internal.exporter._fx_passes", "decompose_with_registry"),
    ("torch.jit", "script"),
    ("torch.fx", "Interpreter.run"),
    # Modes of torch, which what is measured again runs into:
    ("torch._export.non_strict_utils", "_NonStrictTorchFunctionHandler.__torch_function__"),
    ("torch.fx.experimental.proxy_tensor", "PreDispatchTorchFunctionMode.__torch_function__"),
    ("torch.fx.experimental.proxy_tensor", "TorchFunctionMetadataMode.__torch_function__"),
    ("torch.fx.experimental.proxy_tensor", "ProxyTorchDispatchMode.__torch_dispatch__"),
    ("torch._subclasses.fake_tensor", "FakeTensorMode.__torch_dispatch__"),
)
"""Modules of torch, and functions in which the tracer pauses."""

_MODES = (
    ("held_values", "HeldValueMode"),
    ("loops.step_functions", "StepFunctionMode"),
    ("operation_recorder", "OperationRecorder"),
    ("recurrent_functions", "RecurrentFunctionMode"),
    ("size_functions", "SizeFunctionMode"),
)
_SHAPES = (
    ("layer_operators", "_rnn"),
    ("layer_operators", "_gru"),
    ("layer_operators", "_lstm"),
    ("packed_values", "_data"),
    ("packed_values", "_fill"),
    ("trim_operator", "_trim"),
)

_TORCH = importlib.util.find_spec("torch").origin  # which does not import it
_followed = False


class _Thread(threading.local):
    paused: Any = None
    """Tracer that pauses."""


_thread = _Thread()


def follow(followed: bool) -> None:
    """Say whether the tracer follows torch from now on."""
    global _followed  # of the process, like coverage
    _followed = followed


def leave_out() -> None:
    """Exchange the functions of torch, and those of this project that it calls, for the rest of the process."""
    import torch.onnx
    from torch.fx.experimental import proxy_tensor

    modules: Any = proxy_tensor._ModuleStackTracer
    for module, path in _PAUSING:
        owner = importlib.import_module(module)
        *classes, name = path.split(".")
        for each in classes:
            owner = getattr(owner, each)
        setattr(owner, name, paused(getattr(owner, name)))
    room = "rnnserve.export.recurrence"
    for module, name in _MODES:
        mode = getattr(importlib.import_module(f"{room}.{module}"), name)
        mode.__torch_function__ = resumed(mode.__torch_function__)
    for module, name in _SHAPES:
        operator = getattr(importlib.import_module(f"{room}.{module}"), name)
        operator._abstract_fn = resumed(operator._abstract_fn)
    torch.onnx.export = paused(_with_measured_translations(torch.onnx.export))
    modules.call_module = _with_measured_forwards(modules.call_module)


def _with_measured_translations(export: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(export)
    def exporting(*args: Any, custom_translation_table: Any = None, **options: Any) -> Any:
        table = {
            operator: _measured_translation(translation) if isinstance(translation, types.FunctionType) else translation
            for operator, translation in (custom_translation_table or {}).items()
        }
        return export(*args, custom_translation_table=table or None, **options)

    return exporting


@functools.cache  # torch reads the signature of each once
def _measured_translation(translation: Callable[..., Any]) -> Callable[..., Any]:
    return resumed(translation)


def _with_measured_forwards(call_module: Callable[..., Any]) -> Callable[..., Any]:
    from torch.fx import GraphModule

    @functools.wraps(call_module)
    def calling(self: Any, module: Any, forward: Any, *args: Any) -> Any:
        return call_module(self, module, forward if isinstance(module, GraphModule) else resumed(forward), *args)

    return calling


# The tracer counts the frames that it enters and leaves. So it is set back in the frame in which it was taken away, and
# these are no context managers, which have frames of their own.
def paused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have the tracer pause in a function."""

    @functools.wraps(function)
    def pausing(*args: Any, **options: Any) -> Any:
        tracer = sys.gettrace()
        if tracer is None or _followed:
            return function(*args, **options)
        before, _thread.paused = _thread.paused, tracer
        sys.settrace(None)
        try:
            return function(*args, **options)
        finally:
            _thread.paused = before
            sys.settrace(tracer)

    return _of_torch(pausing)


def resumed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have the tracer go on in a function, where it pauses in what calls it."""

    @functools.wraps(function)
    def resuming(*args: Any, **options: Any) -> Any:
        tracer = _thread.paused
        if tracer is None or sys.gettrace() is not None:
            return function(*args, **options)
        _thread.paused = None
        sys.settrace(tracer)
        try:
            return function(*args, **options)
        finally:
            sys.settrace(None)
            _thread.paused = tracer

    return _of_torch(resuming)


def _of_torch(function: Any) -> Any:
    """Have a function be of torch's file: where messages name the last line of the user's, this is none."""
    function.__code__ = function.__code__.replace(co_filename=_TORCH)
    return function

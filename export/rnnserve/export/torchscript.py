"""TorchScript of the module that is exported, as bytes that repeat and hold nothing of the scripting machine."""

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.flat_module import flat_script
from rnnserve.export.input_drawing import draw_sample
from rnnserve.export.module_interface import Arrays, ModuleInterface
from rnnserve.export.recurrence.interception import LOCK
from rnnserve.export.script_archive import canonical

__all__ = ["load_script", "script", "script_bytes", "script_model", "try_script"]

_LONGEST_REASON = 300  # characters


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """Script a module, in evaluation mode, with `torch.jit.script`.

    The module's own training flags are restored afterwards; the script stays in evaluation mode.

    Raises:
        UnsupportedModule: If TorchScript cannot compile it; the message ends with TorchScript's own.
    """
    training = [(submodule, submodule.training) for submodule in module.modules()]
    module.eval()
    # An export in another thread exchanges the code of PyTorch's recurrent modules, whose source a script reads.
    with LOCK, _without_deprecations(), _torchs_classes_read_once():
        try:
            scripted: torch.jit.ScriptModule = torch.jit.script(module)
        except Exception as error:  # its compiler asserts what it takes, and reads sources that were edited since
            raise UnsupportedModule(f"TorchScript cannot compile {type(module).__name__}: {error}") from error
        finally:
            for submodule, flag in training:
                submodule.training = flag
    if not hasattr(scripted, "forward"):  # of a forward with overloads it makes forward__0, forward__1, …
        raise UnsupportedModule(f"TorchScript gives {type(module).__name__} no forward")
    return scripted


def try_script(scripted: nn.Module, interface: ModuleInterface, arrays: Arrays) -> None:
    """Run a script once: TorchScript compiles some modules into scripts that raise where the module does not.

    It takes a parameter without annotation for a tensor, for example, and None for a tensor without values.

    Raises:
        UnsupportedModule: If the script raises; the message ends with TorchScript's own.
    """
    try:
        interface.call(scripted, arrays)
    except (torch.jit.Error, RuntimeError) as error:
        last = str(error).strip().rpartition("\n")[2]
        raise UnsupportedModule(
            "TorchScript's form of the module raises where the module does not. If a parameter of forward may be None, "
            f"annotate it: h: torch.Tensor | None = None. TorchScript: {last}"
        ) from error


def script_model(model: DescribedModel) -> tuple[torch.jit.ScriptModule | None, str]:
    """Script a described module; None, and why, where TorchScript cannot compile it, or its script does not run."""
    flat = model.module
    if flat.is_lenient:
        return (
            None,
            "TorchScript packs sorted rows only, or has the longest row's length for a size, as the module says",
        )
    if not flat.call.is_plain:
        return None, "forward's arguments are made of the model's inputs by code that TorchScript does not compile"
    try:
        scripted = script(flat.module)
        called, interface = flat_script(scripted, model.interface.inputs, model.interface.outputs)
        try_script(called, interface, draw_sample(model.inputs, model.sizes))
        script_bytes(scripted)
    except (UnsupportedModule, WrongArguments) as error:
        reason = " ".join(str(error).split())
        return None, reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
    return scripted, ""


def script_bytes(scripted: torch.jit.ScriptModule) -> bytes:
    """Write a script as the bytes of a file that `torch.jit.load` reads.

    The same script gives the same bytes in every process, whatever was scripted there before. They hold neither source
    paths nor debug records.

    Raises:
        UnsupportedModule: If TorchScript cannot write it, as where a parameter without annotation is None by default.
    """
    buffer = io.BytesIO()
    try:
        with _without_deprecations():
            torch.jit.save(scripted, buffer)
    except RuntimeError as error:
        raise UnsupportedModule(
            "TorchScript cannot write its form of the module. If a parameter of forward may be None, annotate it: "
            f"h: torch.Tensor | None = None. TorchScript: {error}"
        ) from error
    return canonical(buffer.getvalue())


def load_script(data: bytes) -> torch.jit.ScriptModule:
    """Load what `script_bytes` wrote, on the CPU.

    Raises:
        RuntimeError: If torch cannot load it; with torch's message.
    """
    with _without_deprecations():
        scripted: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            io.BytesIO(data), map_location="cpu"
        )
    return scripted


@contextlib.contextmanager
def _without_deprecations() -> Iterator[None]:
    """Suppress "torch.jit.… is deprecated": it still works, and model.pt is part of the artifact."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):  # the former in torch 2.13, the latter in 2.15
            warnings.filterwarnings("ignore", r".*torch\.jit.*deprecated", category)
        yield


@contextlib.contextmanager
def _torchs_classes_read_once() -> Iterator[None]:
    """Have TorchScript look for the source of each of torch's own classes once in a process.

    It does so twice for each GRU and LSTM, to tell overloads of their forward apart, and Python parses the whole file
    for it: half of the time that the script of a small module takes. Other classes may have been edited since.
    """
    internal: Any = torch._jit_internal  # noqa: SLF001 - there is no public way
    read = getattr(internal, "get_source_lines_and_file", None)
    if read is None:
        yield
        return

    def lines_of(obj: object, *args: Any) -> Any:  # noqa: ANN401 - torch's
        is_torchs = isinstance(obj, type) and obj.__module__.startswith("torch.")
        return _read_once(read, obj) if is_torchs else read(obj, *args)

    internal.get_source_lines_and_file = lines_of
    try:
        yield
    finally:
        internal.get_source_lines_and_file = read


@functools.lru_cache(maxsize=64)
def _read_once(read: Callable[[object], Any], obj: object) -> Any:  # noqa: ANN401 - torch's
    return read(obj)

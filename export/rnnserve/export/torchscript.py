"""TorchScript of the module that is exported, as bytes that repeat and hold nothing of the scripting machine."""

import contextlib
import io
import warnings
from collections.abc import Iterator

import torch
from torch import nn

from rnnserve.export.description.described_model import DescribedModel
from rnnserve.export.errors import UnsupportedModule, WrongArguments
from rnnserve.export.flat_module import flat_script
from rnnserve.export.input_drawing import draw_sample
from rnnserve.export.module_interface import Arrays, ModuleInterface
from rnnserve.export.recurrence.interception import LOCK
from rnnserve.export.script_archive import canonical

__all__ = ["load_script", "script", "script_bytes", "script_model"]

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
    with LOCK, _without_deprecations():
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
        _try_script(called, interface, draw_sample(model.inputs, model.sizes))
        script_bytes(scripted)
    except (UnsupportedModule, WrongArguments) as error:
        reason = " ".join(str(error).split())
        return None, reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"
    return scripted, ""


def _try_script(scripted: nn.Module, interface: ModuleInterface, arrays: Arrays) -> None:
    """Run a script once: TorchScript compiles some modules into scripts that raise where the module does not.

    It takes a parameter without annotation for a tensor, for example, and None for a tensor without values.
    """
    try:
        interface.call(scripted, arrays)
    except (torch.jit.Error, RuntimeError) as error:
        last = str(error).strip().rpartition("\n")[2]
        raise UnsupportedModule(
            "TorchScript's form of the module raises where the module does not. If a parameter of forward may be None, "
            f"annotate it: h: torch.Tensor | None = None. TorchScript: {last}"
        ) from error


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
    """Suppress "torch.jit.… is deprecated": it still works, and model.pt is part of the artifact.

    The warning is a DeprecationWarning in torch 2.13 and a FutureWarning in 2.15. From Python 3.14 on it says "not
    supported in Python 3.14+".
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", r".*torch\.jit.*(deprecated|not supported)", category)
        yield

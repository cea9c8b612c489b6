"""TorchScript of the module that is exported, as bytes that repeat and hold nothing of the scripting machine."""

import io
import warnings

import torch
from torch import nn

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.interception import LOCK
from rnnserve.export.script_archive import canonical

__all__ = ["script", "script_bytes"]


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """Script a module, in evaluation mode, with `torch.jit.script`.

    The module's own training flags are restored afterwards; the script stays in evaluation mode.

    Raises:
        UnsupportedModule: If TorchScript cannot compile it; the message ends with TorchScript's own.
    """
    training = [(submodule, submodule.training) for submodule in module.modules()]
    module.eval()
    # An export in another thread exchanges the code of PyTorch's recurrent modules, whose source a script reads.
    with LOCK, warnings.catch_warnings():
        # "torch.jit.script is deprecated": a DeprecationWarning in torch 2.13, a FutureWarning in 2.15. It still works,
        # and model.pt is part of the artifact.
        warnings.filterwarnings("ignore", r".*torch\.jit.*deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", r".*torch\.jit.*deprecated", FutureWarning)
        try:
            scripted: torch.jit.ScriptModule = torch.jit.script(module)
        except (torch.jit.frontend.FrontendError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise UnsupportedModule(f"TorchScript cannot compile {type(module).__name__}: {error}") from error
        finally:
            for submodule, flag in training:
                submodule.training = flag
    return scripted


def script_bytes(scripted: torch.jit.ScriptModule) -> bytes:
    """Write a script as the bytes of a file that `torch.jit.load` reads.

    The same script gives the same bytes in every process, whatever was scripted there before. They hold neither source
    paths nor debug records.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit.*deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", r".*torch\.jit.*deprecated", FutureWarning)
        torch.jit.save(scripted, buffer)
    return canonical(buffer.getvalue())

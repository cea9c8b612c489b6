"""TorchScript from the module that is exported, as bytes that repeat and tell nothing of the scripting machine."""

import io
import warnings

import torch
from torch import nn

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.interception import LOCK
from rnnserve.export.script_archive import canonical

__all__ = ["script", "script_bytes"]


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """Script `module`, in evaluation mode, with `torch.jit.script`.

    The module's own training flags are as before afterwards; the script's are those of evaluation.

    Raises:
        UnsupportedModule: TorchScript cannot compile it; the message ends in TorchScript's own words.
    """
    training = [(submodule, submodule.training) for submodule in module.modules()]
    module.eval()
    # An export in another thread has other code in PyTorch's recurrent modules while it runs; scripts read the source.
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
    """The script as a file that `torch.jit.load` reads.

    The same script gives the same bytes in every process, whatever was scripted in it before, and they hold neither
    source paths nor debug records.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit.*deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", r".*torch\.jit.*deprecated", FutureWarning)
        torch.jit.save(scripted, buffer)
    return canonical(buffer.getvalue())

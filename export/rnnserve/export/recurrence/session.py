"""The capture in progress, if any: known to the exporting thread only, so that other threads see PyTorch as it is."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator

from torch import nn

__all__ = ["Session", "active", "current", "opened"]


@dataclasses.dataclass(frozen=True)
class Session:
    """What is known while one module is captured.

    Attributes:
        root: the module being exported.
        names: `id` of each submodule -> the name by which messages call it.
    """

    root: nn.Module
    names: dict[int, str]

    @classmethod
    def of(cls, root: nn.Module) -> "Session":
        """A session for `root`; a module registered under several names goes by the first."""
        names = {id(module): f"`{name}`" if name else "the module itself" for name, module in root.named_modules()}
        return cls(root, names)

    def name(self, module: nn.Module) -> str:
        """How a message calls `module`: its qualified name and its class."""
        known = self.names.get(id(module), "a module that the exported one does not register")
        return f"{known} ({type(module).__name__})"


_thread = threading.local()


def active() -> bool:
    """Whether this thread is capturing a module."""
    return getattr(_thread, "session", None) is not None


def current() -> Session:
    """This thread's session; only called where there is one."""
    session: Session = _thread.session
    return session


@contextlib.contextmanager
def opened(root: nn.Module) -> Iterator[Session]:
    """Make this thread capture `root`; whatever was being captured goes on afterwards."""
    before = getattr(_thread, "session", None)
    session = Session.of(root)
    _thread.session = session
    try:
        yield session
    finally:
        _thread.session = before

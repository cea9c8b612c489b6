"""The capture in progress: known to the exporting thread only, so that other threads use PyTorch's own code."""

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterator

from torch import nn

from rnnserve.export.surroundings import path_of_the_users

__all__ = ["active", "current", "opened"]


@dataclasses.dataclass(frozen=True)
class CaptureSession:
    """What is known while one module is captured.

    Attributes:
        root: The module being exported.
        names: `id` of each submodule -> its name in messages.
        scans: Gives each `scan` of the captured program a number.
    """

    root: nn.Module
    names: dict[int, str]
    scans: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    @classmethod
    def of(cls, root: nn.Module) -> "CaptureSession":
        """Make a session for `root`; a module registered under several names has the first."""
        own = root.get_submodule(path_of_the_users(root))
        names = {id(module): f"`{name}`" if name else "the module itself" for name, module in own.named_modules()}
        return cls(root, names)

    def name(self, module: nn.Module) -> str:
        """Name a module for messages: its qualified name and its class."""
        known = self.names.get(id(module), "a module that the exported one does not register")
        return f"{known} ({type(module).__name__})"


_thread = threading.local()


def active() -> bool:
    """Whether this thread is capturing a module."""
    return getattr(_thread, "session", None) is not None


def current() -> CaptureSession:
    """Give this thread's session; only for code that runs while there is one."""
    session: CaptureSession = _thread.session
    return session


@contextlib.contextmanager
def opened(root: nn.Module) -> Iterator[CaptureSession]:
    """Open a session for `root` in this thread; afterwards the session before it is current again."""
    before = getattr(_thread, "session", None)
    session = CaptureSession.of(root)
    _thread.session = session
    try:
        yield session
    finally:
        _thread.session = before

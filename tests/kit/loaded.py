"""A repository whose versions are loaded as a server loads them."""

from pathlib import Path

from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.repository import Repository
from rnnserve.server.repository.trials import Trials

__all__ = ["load_repository"]


def load_repository(
    root: Path,
    *,
    allow_unproven: bool = False,
    trials: Trials | None = None,
    timeout: float = 60.0,
    ready: str = "any",
) -> Repository:
    """Try and load the versions of a repository on the CPU, and wait for all of them.

    Raises:
        StartError: If none may serve.
    """
    models = Repository(root, ready=ready)
    trials = trials or Trials()
    loader = Loader(models, trials, "cpu", allow_unproven=allow_unproven, timeout=timeout)
    loader.load()
    loader.wait()
    return models

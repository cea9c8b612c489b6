"""Versions that are loaded as a server loads them: one, or those of a repository."""

from pathlib import Path

from rnnserve.server.repository import load_version
from rnnserve.server.repository.findings import Findings, LoadCheck
from rnnserve.server.repository.load_checks import LoadChecks
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import Repository
from rnnserve.server.settings import Settings


def load_model(folder: Path, name: str, *, known: Findings | None = None, **how) -> Model:
    return load_version.load_model(LoadCheck(folder, name, "1", **how), known=known)


def try_version(folder: Path, name: str, **how) -> Findings:
    return load_version.try_version(LoadCheck(folder, name, "1", **how))


def load_repository(
    root: Path,
    *,
    allow_unproven: bool = False,
    checks: LoadChecks | None = None,
    timeout: float = 60.0,
) -> Repository:
    """Check and load the versions of a repository on the CPU, and wait for all of them.

    Raises:
        StartError: If none may serve.
    """
    models = Repository(root)
    settings = Settings(root, allow_unproven=allow_unproven, load_timeout=timeout)
    loader = Loader(models, checks or LoadChecks(), "cpu", settings)
    loader.load(models.models())
    loader.wait()
    return models

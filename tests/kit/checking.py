"""A process that checks the versions of a folder, as a server has one."""

from pathlib import Path

import pytest

from rnnserve.server.repository.findings import LoadCheck
from rnnserve.server.repository.load_checks import LoadChecks

PATIENCE = 60.0


def check_of(root: Path, name: str, **more) -> LoadCheck:
    return LoadCheck(root / name / "1", name, "1", **more)


class Checked:
    """Checks versions of a folder, and returns what came of it."""

    def __init__(self, root: Path):
        self.checks = LoadChecks()
        self._root = root

    def __call__(self, name: str, seconds: float = PATIENCE):
        self.checks.begin(check_of(self._root, name, seconds=seconds))
        return self.checks.outcome()


@pytest.fixture
def checked(tmp_path):
    checked = Checked(tmp_path)
    yield checked
    checked.checks.close()


def pid(checked) -> int:
    return checked.checks._process.pid

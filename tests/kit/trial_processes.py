"""A process that tries the versions of a folder, as a server has one."""

from pathlib import Path

import pytest

from rnnserve.server.repository.trial_process import Trial, TrialProcess

__all__ = ["PATIENCE", "pid", "trial_of", "tried"]

PATIENCE = 60.0


def trial_of(root: Path, name: str, **more) -> Trial:
    may_take = {"max_bytes": 512 << 20, "seconds": PATIENCE, **more}
    return Trial(root / name / "1", name, "1", "cpu", "auto", allow_unproven=False, threads=1, **may_take)


class Tried:
    """Tries versions of a folder, and gives what came of it."""

    def __init__(self, root: Path):
        self.trials = TrialProcess()
        self._root = root

    def __call__(self, name: str, seconds: float = PATIENCE):
        self.trials.begin(trial_of(self._root, name, seconds=seconds))
        return self.trials.outcome()


@pytest.fixture
def tried(tmp_path):
    tried = Tried(tmp_path)
    yield tried
    tried.trials.close()


def pid(tried) -> int:
    return tried.trials._process.pid

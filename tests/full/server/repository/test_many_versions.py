"""Many versions: tried by several processes where there are cores, told of one by one, and none refused for that."""

import threading
from typing import Any

import pytest

from kit.bad_versions import BAD_GRAPHS
from rnnserve.server.repository.trial_process import Stopped, Trial
from rnnserve.server.repository.trials import Trials


def endless(root, name):
    if not (root / name).exists():
        BAD_GRAPHS["endless"][0](root, name)
    may_take: dict[str, Any] = {"max_bytes": 512 << 20, "seconds": 60.0}
    return Trial(root / name / "1", name, "1", "cpu", "auto", allow_unproven=False, threads=1, **may_take)


def test_stop_ends_all_processes(tmp_path):
    trials = Trials()
    checks = [trials.begin(endless(tmp_path, name)) for name in ("a", "b")]
    assert not any(check.done() for check in checks)
    threading.Timer(0.5, trials.stop).start()
    assert all(isinstance(check.exception(), Stopped) for check in checks)
    assert isinstance(trials.begin(endless(tmp_path, "a")).exception(), Stopped)
    trials.close()
    with pytest.raises(Stopped):
        trials.begin(endless(tmp_path, "a"))

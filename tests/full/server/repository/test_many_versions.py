"""Many versions: tried by several processes where there are cores, told of one by one, and none refused for that."""

import threading
from typing import Any

import pytest

from kit.bad_versions import BAD_GRAPHS
from rnnserve.protos import model_config_pb2
from rnnserve.server.repository.load_order import Candidate
from rnnserve.server.repository.trial_process import Stopped, Trial
from rnnserve.server.repository.trials import Trials


def candidate(name):
    return Candidate(name, 1, model_config_pb2.ModelConfig(name=name), 1, 60.0)


def endless(root, name):
    if not (root / name).exists():
        BAD_GRAPHS["endless"][0](root, name)
    may_take: dict[str, Any] = {"max_bytes": 512 << 20, "seconds": 60.0, "processor_seconds": 60.0}
    return Trial(root / name / "1", name, "1", "cpu", "auto", allow_unproven=False, threads=1, **may_take)


def test_stop_ends_all_processes(tmp_path):
    trials = Trials()
    for name in ("a", "b"):
        trials.begin(candidate(name), endless(tmp_path, name))
    assert (trials.take(wait=False), trials.running) == ([], 2)
    threading.Timer(0.5, trials.stop).start()
    outcomes = {version.name: outcome for version, outcome in [*trials.take(), *trials.take()]}
    assert sorted(outcomes) == ["a", "b"]
    assert all(isinstance(outcome, Stopped) for outcome in outcomes.values())
    trials.begin(candidate("a"), endless(tmp_path, "a"))
    assert isinstance(trials.take()[0][1], Stopped)
    trials.close()
    with pytest.raises(Stopped):
        trials.begin(candidate("a"), endless(tmp_path, "a"))

"""One process tries all versions. It is replaced where one has ended it or takes too long."""

from pathlib import Path

import pytest

from kit.bad_versions import BAD_GRAPHS, publish_good
from kit.trial_processes import pid, trial_of
from rnnserve.protos.artifact import read_version
from rnnserve.server.errors import StartError
from rnnserve.server.repository.load_version import load_model
from rnnserve.server.repository.trial_process import Refused, TooSlow, TrialProcess


def test_what_was_found_is_what_loading_finds(tmp_path, tried):
    folder = publish_good(tmp_path)
    findings = tried("good")
    assert findings.digest == read_version(folder).digest
    model = load_model(folder, "good", "1", "cpu", known=findings)
    whole = load_model(folder, "good", "1", "cpu")
    assert model.cost == findings.cost
    assert (model.batch_invariant, model.trims_outputs) == (whole.batch_invariant, whole.trims_outputs) == (True, False)
    assert model.signature == whole.signature


def test_one_process_tries_all_and_is_replaced_where_a_version_ends_it(tmp_path, tried):
    publish_good(tmp_path)
    BAD_GRAPHS["aborting"][0](tmp_path, "aborting")
    BAD_GRAPHS["endless"][0](tmp_path, "endless")
    tried("good")
    first = pid(tried)
    tried("good")
    assert pid(tried) == first
    with pytest.raises(Refused, match=r"^ended the process that tried it with SIG(ABRT|SEGV)$"):
        tried("aborting")
    tried("good")
    second = pid(tried)
    assert second != first
    with pytest.raises(TooSlow):
        tried("endless", 0.5)
    assert not Path(f"/proc/{second}").exists()
    tried("good")


def test_an_option_says_how_much_memory_a_version_may_take(tmp_path):
    publish_good(tmp_path)
    few = TrialProcess()
    few.begin(trial_of(tmp_path, "good", max_bytes=1))
    with pytest.raises(Refused, match=r"^needs more than [\d,]+ bytes of memory \(--max-load-bytes\)$"):
        few.outcome()
    few.close()


def test_a_process_that_cannot_start_is_the_end_of_it(tmp_path, monkeypatch):
    none = TrialProcess(worker="rnnserve.no_such_module")
    with pytest.raises(StartError, match=r"^the process that tries models ended, with exit status 1$"):
        none.begin(trial_of(tmp_path, "good"))
    monkeypatch.setattr("sys.executable", str(tmp_path / "no python"))
    with pytest.raises(StartError, match=r"^cannot start a process that tries models: No such file or directory$"):
        none.begin(trial_of(tmp_path, "good"))

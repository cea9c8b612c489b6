"""One process checks all versions. It is replaced when a version crashes it or takes too long."""

from pathlib import Path

import pytest

from kit.bad_versions import BAD_GRAPHS, publish_good
from kit.checking import check_of, pid
from kit.loaded import load_model
from rnnserve.common.guarded_process import GuardedProcess
from rnnserve.protos.artifact import read_version
from rnnserve.server.errors import StartError
from rnnserve.server.repository import load_checks
from rnnserve.server.repository.load_checks import LoadChecks, Refused, TooSlow


def test_load_check_has_the_same_findings_as_loading(tmp_path, checked):
    folder = publish_good(tmp_path)
    findings = checked("good")
    assert findings.digest == read_version(folder).digest
    model = load_model(folder, "good", known=findings)
    whole = load_model(folder, "good")
    assert model.cost == findings.cost
    assert (model.batch_invariant, model.trims_outputs) == (whole.batch_invariant, whole.trims_outputs) == (True, False)
    assert model.signature == whole.signature


def test_checking_process_is_replaced_after_a_crash_or_timeout(tmp_path, checked):
    publish_good(tmp_path)
    BAD_GRAPHS["aborting"][0](tmp_path, "aborting")
    BAD_GRAPHS["endless"][0](tmp_path, "endless")
    checked("good")
    first = pid(checked)
    checked("good")
    assert pid(checked) == first
    with pytest.raises(Refused, match=r"^ended the process that tried it with SIG(ABRT|SEGV)$"):
        checked("aborting")
    checked("good")
    second = pid(checked)
    assert second != first
    with pytest.raises(TooSlow):
        checked("endless", 0.5)
    assert not Path(f"/proc/{second}").exists()
    checked("good")


def test_memory_of_a_load_check_is_limited(tmp_path, checked):
    publish_good(tmp_path)
    checked.checks.begin(check_of(tmp_path, "good", max_bytes=1))
    with pytest.raises(Refused, match=r"^needs more than [\d,]+ bytes of memory$"):
        checked.checks.outcome()


def test_checking_process_that_cannot_start_is_a_start_error(tmp_path, monkeypatch):
    monkeypatch.setattr(
        load_checks, "GuardedProcess", lambda *_, **more: GuardedProcess("-m", "rnnserve.no_such_module", **more)
    )
    none = LoadChecks()
    with pytest.raises(StartError, match=r"^the process for load checks ended, with exit status 1$"):
        none.begin(check_of(tmp_path, "good"))
    monkeypatch.setattr("sys.executable", str(tmp_path / "no python"))
    with pytest.raises(StartError, match=r"^cannot start a process for load checks: No such file or directory$"):
        none.begin(check_of(tmp_path, "good"))

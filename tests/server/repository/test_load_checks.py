"""One process checks all versions. It is replaced where one has ended it or takes too long."""

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


def test_what_was_found_is_what_loading_finds(tmp_path, checked):
    folder = publish_good(tmp_path)
    findings = checked("good")
    assert findings.digest == read_version(folder).digest
    model = load_model(folder, "good", known=findings)
    whole = load_model(folder, "good")
    assert model.cost == findings.cost
    assert (model.batch_invariant, model.trims_outputs) == (whole.batch_invariant, whole.trims_outputs) == (True, False)
    assert model.signature == whole.signature


def test_one_process_tries_all_and_is_replaced_where_a_version_ends_it(tmp_path, checked):
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


def test_an_option_limits_the_memory_of_a_version(tmp_path, checked):
    publish_good(tmp_path)
    checked.checks.begin(check_of(tmp_path, "good", max_bytes=1))
    with pytest.raises(Refused, match=r"^needs more than [\d,]+ bytes of memory$"):
        checked.checks.outcome()


def test_a_process_that_cannot_start_is_the_end_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(
        load_checks, "GuardedProcess", lambda *_, **more: GuardedProcess("-m", "rnnserve.no_such_module", **more)
    )
    none = LoadChecks()
    with pytest.raises(StartError, match=r"^the process that tries models ended, with exit status 1$"):
        none.begin(check_of(tmp_path, "good"))
    monkeypatch.setattr("sys.executable", str(tmp_path / "no python"))
    with pytest.raises(StartError, match=r"^cannot start a process that tries models: No such file or directory$"):
        none.begin(check_of(tmp_path, "good"))

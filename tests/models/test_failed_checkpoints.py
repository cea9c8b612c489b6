"""Whatever call of writing a checkpoint fails, the older one is as it was, and nothing else is left."""

import errno

import pytest

from kit.failing_writes import FailingWrites, everything
from rnnserve.models.errors import CheckpointError
from rnnserve.models.folder_replacement import replace_folder

ERRORS = {"full": None, "once": OSError(errno.EIO, "Input/output error"), "interrupted": KeyboardInterrupt()}


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("older", [False, True])
def test_each_call_that_fails_leaves_the_folder_as_it_was(tmp_path, kind, older):
    def prepare(name):
        folder = tmp_path / name / "checkpoints" / "model"
        folder.parents[1].mkdir()
        if older:
            replace_folder(folder, {"one": b"older", "two": b"older"})
        return folder

    files = {"one": b"1", "two": b"2"}
    folder = prepare("whole")
    with pytest.MonkeyPatch.context() as patch:
        count = len(_calls(patch, folder, files))
    assert count > 8
    for at in range(count):
        folder = prepare(str(at))
        before = everything(folder.parents[1])
        with pytest.MonkeyPatch.context() as patch:
            writes = FailingWrites(patch, at, ERRORS[kind])
            with pytest.raises((CheckpointError, KeyboardInterrupt)) as failed:
                replace_folder(folder, files)
        assert everything(folder.parents[1]) == before, writes.calls[at]
        if kind != "interrupted":
            there = "The older checkpoint is unchanged" if older else "No checkpoint was written"
            assert str(failed.value).endswith(f". {there}, and nothing was left behind")


def _calls(patch, folder, files):
    writes = FailingWrites(patch)
    replace_folder(folder, files)
    return writes.calls

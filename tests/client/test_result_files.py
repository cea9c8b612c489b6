"""Files of results: checked without leaving or changing anything, and written whole or not at all."""

import errno
import os

import pytest

from kit.failing_writes import FailingWrites, everything
from rnnserve.client.commands.result_files import check_writable, write_whole
from rnnserve.client.errors import InvalidRequest


def test_check_changes_nothing(tmp_path):
    (tmp_path / "there").write_text("older")
    check_writable(tmp_path / "there", "--json")
    check_writable(tmp_path / "new", "--json")
    assert everything(tmp_path) == {"there": b"older"}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("error", [None, OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_failed_write_leaves_what_was_there(tmp_path, monkeypatch, older, error):
    path = tmp_path / "results.json"
    if older:
        path.write_text("older")
    before = everything(tmp_path)
    for at in range(3):
        with monkeypatch.context() as patch:
            writes = FailingWrites(patch, at, error)
            with pytest.raises((InvalidRequest, KeyboardInterrupt)):
                write_whole(path, "new")
        assert len(writes.calls) == at + 1
        assert everything(tmp_path) == before
    write_whole(path, "new")
    assert everything(tmp_path) == {"results.json": b"new"}


def test_link_stays_a_link_and_modes_stay(tmp_path):
    (tmp_path / "file").write_text("older")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_pipe_is_written_and_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(path, "new")
    assert os.read(reader, 10) == b"new"
    assert path.is_fifo()
    os.close(reader)

"""Tests that look at processes are not to fail where one of them ends at that moment."""

import os
import subprocess
from pathlib import Path

import pytest

from support.bare_python import BARE_PYTHON
from support.running_processes import children_of, is_running

WAITS = [*BARE_PYTHON, "input()", "these words"]


@pytest.fixture
def child():
    with subprocess.Popen(WAITS, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_process_and_its_children_are_found(child):
    assert is_running(child.pid)
    assert child.pid in children_of(os.getpid(), b"these words\0")
    assert child.pid not in children_of(os.getpid(), b"other words\0")
    child.kill()
    child.wait()
    assert not is_running(child.pid)
    assert child.pid not in children_of(os.getpid())
    assert children_of(child.pid) == []


@pytest.mark.parametrize("error", [FileNotFoundError, ProcessLookupError])
@pytest.mark.parametrize("ends_before", ["children", "stat", "cmdline"])
def test_what_ends_while_it_is_looked_at_is_none(child, monkeypatch, error, ends_before):
    """Before its file is opened, or before it is read."""

    def ending(read):
        def read_or_end(path, *args, **more):
            if path.name == ends_before:
                raise error(path)
            return read(path, *args, **more)

        return read_or_end

    for name in ("read_text", "read_bytes"):
        monkeypatch.setattr(Path, name, ending(getattr(Path, name)))
    assert is_running(child.pid) == (ends_before != "stat")
    assert child.pid not in children_of(os.getpid(), b"these words\0")

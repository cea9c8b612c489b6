"""That no descriptor is left is said once, with the limit, and again after a while."""

import errno
import logging
import os
import types
from pathlib import Path

import pytest

from rnnserve.server.process import descriptors
from rnnserve.server.process.descriptors import DescriptorWatch


@pytest.fixture
def system(monkeypatch):
    """What opening a descriptor does."""
    system = types.SimpleNamespace(fails=None)

    def open_one(path, flags):
        if system.fails is not None:
            raise OSError(system.fails, os.strerror(system.fails))
        return os.open(path, flags)

    fake = types.SimpleNamespace(open=open_one, close=os.close, devnull=os.devnull, O_RDONLY=os.O_RDONLY)
    monkeypatch.setattr(descriptors, "os", fake)
    return system


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EMFILE, "this process may open no more files and connections (limit "),
        (errno.ENFILE, "the machine may open no more files (sysctl fs.file-max)"),
    ],
)
def test_it_is_said_once_a_minute_and_so_is_the_end_of_it(system, caplog, number, said):
    clock = types.SimpleNamespace(now=100.0)
    watch = DescriptorWatch(lambda: clock.now)
    with caplog.at_level(logging.INFO):
        watch.look()
        assert caplog.messages == []
        system.fails = number
        for _ in range(130):
            watch.look()
            clock.now += 1
        assert len(caplog.messages) == 3
        assert caplog.messages[0].startswith(f"no new connection is accepted until another ends: {said}")
        system.fails = None
        for _ in range(3):
            watch.look()
    assert caplog.messages[3:] == ["descriptors are left again: connections are accepted"]


def test_it_leaves_no_descriptor_open():
    """Of many looks: meanwhile, threads of other tests open and close a few of their own."""
    watch, times = DescriptorWatch(), 50
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(times):
        watch.look()
    assert len(list(Path("/proc/self/fd").iterdir())) < before + times

"""Counts of HTTP gateway processes are read by their server, even after a process has ended."""

import os
import subprocess
import sys

import pytest

from rnnserve.common.gateway_counts import REFUSED, GatewayCounts


def test_counts_survive_a_killed_process():
    counts = GatewayCounts()
    code = (
        "import os, sys; from rnnserve.common.gateway_counts import *\n"
        "used = GatewayCounts(int(sys.argv[1]))\n"
        "for status in (400, 404, 404, 511): used.count_refusal(status)\n"
        "os.kill(os.getpid(), 9)"
    )
    for _ in range(2):  # one that replaces another goes on
        fds = [counts.descriptor]
        done = subprocess.run([sys.executable, "-c", code, str(fds[0])], pass_fds=fds, check=False)
        assert done.returncode == -9
    numbers = counts.numbers()
    assert {name: numbers[place] for name, place in REFUSED.items() if numbers[place]} == {
        "400": 2, "404": 4, "511": 2,
    }  # fmt: skip


def test_memory_without_counts_is_refused():
    fd = os.memfd_create("other")
    try:
        with pytest.raises(ValueError, match="file size"):
            GatewayCounts(fd)
    finally:
        os.close(fd)

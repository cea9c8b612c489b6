"""What a process of the HTTP gateway counts is read by its server, also after the process has ended."""

import os
import subprocess
import sys

import pytest

from rnnserve.common.gateway_counts import ENDED, NUMBERS, REFUSED, TLS_RELOADS, GatewayCounts


def test_it_is_there_after_the_process_was_killed():
    counts = GatewayCounts()
    code = (
        "import os, sys; from rnnserve.common.gateway_counts import *\n"
        "use_gateway_counts(GatewayCounts(int(sys.argv[1]))); used = used_gateway_counts()\n"
        "for status in (400, 404, 404, 418): used.count_refusal(status)\n"
        "used.count_end('late'); used.count_tls_reload('refused'); os.kill(os.getpid(), 9)"
    )
    for _ in range(2):  # one that replaces another goes on
        fds = [counts.descriptor]
        done = subprocess.run([sys.executable, "-c", code, str(fds[0])], pass_fds=fds, check=False)
        assert done.returncode == -9
    numbers = counts.numbers()
    assert sorted([*REFUSED.values(), *ENDED.values(), *TLS_RELOADS.values()]) == list(range(NUMBERS))
    assert {name: numbers[place] for name, place in (REFUSED | ENDED | TLS_RELOADS).items() if numbers[place]} == {
        "400": 2, "404": 4, "other": 2, "late": 2, "refused": 2,
    }  # fmt: skip


def test_other_memory_is_refused():
    fd = os.memfd_create("other")
    try:
        with pytest.raises(ValueError, match="does not hold the counts"):
            GatewayCounts(fd)
    finally:
        os.close(fd)

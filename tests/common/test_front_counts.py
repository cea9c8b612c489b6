"""What a front counts is read by its server, also after the front has ended."""

import os
import subprocess
import sys

import pytest

from rnnserve.common.front_counts import ENDED, NUMBERS, STATUSES, TLS_RELOADS, FrontCounts


def test_it_is_there_after_the_front_was_killed():
    counts = FrontCounts()
    code = (
        "import os, sys; from rnnserve.common.front_counts import *\n"
        "use_front_counts(FrontCounts(int(sys.argv[1]))); used = used_front_counts()\n"
        "for status in (400, 404, 404, 418): used.count_refusal(status)\n"
        "used.count_end('late'); used.count_tls_reload('refused'); os.kill(os.getpid(), 9)"
    )
    for _ in range(2):  # one that replaces another goes on
        fds = [counts.descriptor]
        done = subprocess.run([sys.executable, "-c", code, str(fds[0])], pass_fds=fds, check=False)
        assert done.returncode == -9
    numbers = counts.numbers()
    assert len(numbers) == NUMBERS == len(STATUSES) + 1 + len(ENDED) + len(TLS_RELOADS)
    names = (*STATUSES, "other", *ENDED, *TLS_RELOADS)
    assert {name: number for name, number in zip(names, numbers, strict=True) if number} == {
        400: 2, 404: 4, "other": 2, "late": 2, "refused": 2,
    }  # fmt: skip


def test_other_memory_is_refused():
    fd = os.memfd_create("other")
    try:
        with pytest.raises(ValueError, match="no memory"):
            FrontCounts(fd)
    finally:
        os.close(fd)

"""No write waits for its reader: what has no room waits in memory, is left out with a word, or is lost with him."""

import os
import subprocess
import sys
from functools import partial

import pytest

from kit.narrowed import closed

PATIENCE = 20.0


def run(code, narrow=list, **how):
    code = f"from rnnserve.common.unblocked_output import unblock_output; unblock_output()\n{code}"
    return subprocess.Popen(narrow([sys.executable, "-c", code]), **how)


NOISE = "import ctypes, os, sys, logging\nfor _ in range(3000): {}\n"


def test_process_ends_although_nobody_reads_its_output():
    for statement in (
        "print('x' * 99, file=sys.stderr)",
        "print('x' * 99)",
        "logging.warning('x' * 99)",
        "os.write(2, b'x' * 99) if _ < 30 else None",
        "sys.excepthook(ValueError, ValueError('x' * 99), None)",
        "ctypes.CDLL(None).dprintf(2, b'x' * 99)",  # as gRPC's core, which logs from its own threads
    ):
        with run(NOISE.format(statement), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.wait(PATIENCE) == 0, statement


@pytest.mark.parametrize("fd", [1, 2])
def test_closed_descriptor_is_not_taken_for_a_connection(fd):
    """Otherwise the next socket had its number, and what is written to it were sent to a client."""
    code = f"import os, sys; fd = os.open('/proc/self/maps', os.O_RDONLY); print(fd); os._exit(0 if fd > {fd} else 1)"
    with run(code, partial(closed, descriptor=fd)) as process:
        assert process.wait(PATIENCE) == 0


def test_pipe_shared_with_other_processes_stays_blocking():
    """A description is shared: only this process's own may not block."""
    read_fd, write_fd = os.pipe()
    with run("", stderr=write_fd) as process:
        assert process.wait(PATIENCE) == 0
    assert os.get_blocking(write_fd)
    os.close(read_fd)
    os.close(write_fd)


def test_output_is_appended_to_an_open_file(tmp_path):
    """Not from its beginning, as by a description of its own; and what was written last is there after an abort."""
    log = tmp_path / "log"
    with log.open("w") as file:
        file.write("before\n")
        file.flush()
        with run("import sys, os; print('last', file=sys.stderr); os.abort()", stderr=file) as process:
            process.wait(PATIENCE)
    assert log.read_text().splitlines()[:2] == ["before", "last"]

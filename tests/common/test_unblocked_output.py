"""No write waits for its reader: what has no room waits in memory, is left out with a word, or is lost with him."""

import fcntl
import os
import threading
import time

import pytest

from rnnserve.common.unblocked_output import UnblockedStream

PATIENCE = 20.0
PIPE_BYTES = 4096


class Pipe:
    """A small pipe, and a stream to it."""

    def __init__(self, *, at_once, **more):
        self.read_fd, self.write_fd = os.pipe()
        fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self.write_fd, not at_once)
        self.stream = UnblockedStream(self.write_fd, may_write_at_once=at_once, **more)

    def fill(self):
        """Write lines until none is taken any more. Within a bound, or the write has waited."""
        lines = [f"line {number}: {'x' * 100}\n" for number in range(200)]
        writing = threading.Thread(target=lambda: [self.stream.write(line) for line in lines], daemon=True)
        writing.start()
        writing.join(PATIENCE)
        assert not writing.is_alive()
        return "".join(lines)

    def read(self, count):
        data = b""
        while len(data) < count:
            data += os.read(self.read_fd, 1 << 16)
        return data.decode()


@pytest.fixture(params=[True, False], ids=["does not block", "blocks"])
def new_pipe(request):
    """Makes a pipe, with arguments of its stream."""
    pipes = []

    def make(**more):
        pipes.append(Pipe(at_once=request.param, **more))
        return pipes[-1]

    yield make
    for pipe in pipes:
        os.set_blocking(pipe.read_fd, False)
        os.close(pipe.read_fd)  # its thread's writes fail from now on


@pytest.fixture
def pipe(new_pipe):
    return new_pipe()


def test_what_has_room_is_written(pipe):
    pipe.stream.write("one\ntw")
    pipe.stream.write("o\nthree")
    pipe.stream.flush()
    assert pipe.read(13) == "one\ntwo\nthree"


def test_what_is_not_read_waits_and_keeps_its_order(pipe):
    written = pipe.fill()
    assert pipe.read(len(written)) == written
    pipe.stream.write("more\n")
    assert pipe.read(5) == "more\n"


def test_what_would_wait_beyond_the_bound_is_left_out_and_counted(new_pipe):
    pipe = new_pipe(most_bytes=3 * PIPE_BYTES)
    written = pipe.fill()
    pipe.stream.finish(0.2)  # nobody reads: it gives up
    assert pipe.stream._bytes <= 3 * PIPE_BYTES
    read = ""
    while "left out here" not in read:
        read += pipe.read(1)
    kept, _, note = read.partition("\n")[0], None, read.splitlines()[-1]
    assert written.startswith(kept)
    left_out = int(note.split()[0])
    lines = read.splitlines()[:-1]
    in_order = iter(written.splitlines())
    assert all(line in in_order for line in lines)  # what the pipe takes meanwhile makes room for some that come later
    assert len(lines) + left_out == 200
    pipe.stream.write("after\n")
    assert pipe.read(6) == "after\n"


def test_a_reader_that_has_gone_costs_nothing(pipe):
    pipe.fill()
    os.close(pipe.read_fd)
    pipe.stream.write("to nobody\n")
    began = time.monotonic()
    pipe.stream.finish(PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    assert not pipe.stream._waiting
    pipe.read_fd, _ = os.pipe()

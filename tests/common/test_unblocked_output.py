"""No write waits long for its reader: lines without room are left out and counted, or lost with the reader."""

import os
import threading

import pytest

from rnnserve.common.unblocked_output import unblocked_stream

PATIENCE = 20.0
LINES = [f"line {number}: {'x' * 100}\n" for number in range(2000)]


class Pipe:
    """A small pipe, and a stream to it."""

    def __init__(self, *, blocks):
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.write_fd, blocks)
        self.stream = unblocked_stream(self.write_fd)

    def fill(self):
        """Write more lines than there is room for; wait until all writes have returned."""
        writing = threading.Thread(target=lambda: [self.stream.write(line) for line in LINES], daemon=True)
        writing.start()
        writing.join(PATIENCE)
        assert not writing.is_alive()

    def read_to(self, end):
        data = b""
        while not data.endswith(end.encode()):
            data += os.read(self.read_fd, 1)
        return data.decode()


@pytest.fixture(params=[False, True], ids=["does not block", "blocks"])
def pipe(request):
    made = Pipe(blocks=request.param)
    yield made
    os.close(made.read_fd)


def test_output_with_room_is_written(pipe):
    pipe.stream.write("one\ntw")
    pipe.stream.write("o\nthree")
    pipe.stream.flush()
    assert pipe.read_to("three") == "one\ntwo\nthree"


def test_lines_without_room_are_dropped_and_counted(pipe):
    pipe.fill()
    kept = pipe.read_to(f"{'x' * 100}\n")
    kept += os.read(pipe.read_fd, 1 << 20).decode()
    pipe.stream.write("after\n")
    *rest, note, after = (kept + pipe.read_to("after\n")).splitlines()
    assert after == "after"
    assert note.endswith("lines are missing here, because the log was not read as fast as it was written")
    assert rest == [line.rstrip() for line in LINES[: len(rest)]]
    assert len(rest) + int(note.split()[0].replace(",", "")) == len(LINES)


def test_closed_reader_does_not_block(pipe):
    pipe.fill()
    os.close(pipe.read_fd)
    pipe.stream.write("to nobody\n")
    pipe.stream.flush()
    pipe.read_fd, _ = os.pipe()

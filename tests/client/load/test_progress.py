import io

from rnnserve.client.load.plan import Load
from rnnserve.client.load.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_terminal_has_one_line_kept_up_to_date(point):
    terminal, clock = Terminal(), Clock()
    progress = Progress(terminal, 2, clock)
    progress.begin(Load(rate=100, warmup=1, duration=10))
    for now, started, ended in ((0.5, 50, 49), (0.6, 60, 60), (6, 600, 590), (11.5, 1100, 1000)):
        clock.now = now
        progress.watch(started, ended)
    progress.end(point())
    lines = terminal.getvalue().split("\r")
    assert terminal.getvalue().count("\n") == 1
    assert len(lines) == 6  # nothing, the first, three of the four (one came too soon), the last
    assert "warming up: 50 sent, 1 under way" in lines[2]
    assert "[##########..........] 6.0 of 11 s, measuring: 600 sent, 10 under way" in lines[3]
    assert "waiting for the last answers: 1,100 sent, 100 under way" in lines[4]
    assert lines[5].startswith("[1/2] 100 requests/s: 1 answers")
    # What is shorter than what stood there leaves nothing of it behind.
    assert len(lines[5].rstrip("\n")) >= len(lines[4].rstrip())


def test_elsewhere_there_is_a_line_for_each_load(point):
    stream = io.StringIO()
    progress = Progress(stream, None)
    progress.begin(Load(rate=100))
    progress.watch(5, 5)
    progress.end(point([1.0], errors={"UNAVAILABLE": 1000}, wrong=2))
    assert stream.getvalue() == (
        "[1] 100 requests/s: 1 answers, p50 1.00 ms, p99 1.00 ms, 1,000 errors, 2 wrong labels\n"
    )

import io

from rnnserve.load.load_level import LoadLevel
from rnnserve.load.progress import LoadProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_terminal_shows_a_bar_and_then_a_line_for_each_load(result):
    terminal, clock = Terminal(), Clock()
    progress = LoadProgress(terminal, 2, clock)
    progress.begin(LoadLevel(rate=100, warmup=1, duration=10))
    clock.now = 100.0  # the time to connect does not count
    progress.update(0, 0)
    for seconds, started, ended in ((0.5, 50, 49), (5.5, 600, 590), (11.5, 1100, 1000)):
        clock.now = 100.0 + seconds
        progress.update(started, ended)
    progress.end(result())
    shown = [text.strip() for text in terminal.getvalue().split("\r")]
    for bar in (
        "[....................] 0.0 of 11 s, starting",
        "[....................] 0.0 of 11 s, warming up: 0 sent, 0 in flight",
        "[....................] 0.5 of 11 s, warming up: 50 sent, 1 in flight",
        "[##########..........] 5.5 of 11 s, measuring: 600 sent, 10 in flight",
        "[####################] 11.0 of 11 s, waiting for the last responses: 1,100 sent, 100 in flight",
    ):
        assert f"[1/2] 100 requests/s: {bar}" in shown
    # The bar is removed, and one line stays.
    assert terminal.getvalue().count("\n") == 1
    assert shown[-2:] == ["", "[1/2] 100 requests/s: 1 answers, p50 1.00 ms, p99 1.00 ms"]

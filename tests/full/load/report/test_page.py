"""The report's page: colors of both themes, tests without answers, sessions, and the same bytes everywhere."""

import os
import pickle
import re
import subprocess
import sys

from kit.paths import TESTS
from rnnserve.load.report import render_report


def test_every_color_of_a_chart_is_in_both_themes(load_test, sweep, run):
    page = render_report(load_test(sweep, "p99=15ms"), run)
    style, charts = page.split("</style>")
    used = set(re.findall(r"var\((--[a-z0-9]+)\)", charts))
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    assert {"--c0", "--c5", "--card", "--soft", "--rule", "--bad"} <= used
    for theme in (light, dark[: dark.index("}")]):
        assert used <= set(re.findall(r"(--[a-z0-9]+):", theme))
    assert not re.findall(r"(?:fill|stroke): #[0-9a-f]+", charts)


def test_page_of_sessions_shows_their_jitter(load_test, result, run):
    page = render_report(load_test([result([1, 2, 6], sessions=3), result([1, 2], sessions=8)]), run)
    for expected in ("deviation", "2.16 ms", "p99-p50", "4.00 ms", "p99.9", "Send lag", "3 sessions", "8 sessions"):
        assert expected in page


def test_same_results_have_the_same_bytes_with_any_matplotlibrc(load_test, result, run, tmp_path):
    test = load_test([result([1, 2, 3], batches={1: 2}), result([2, 3], rate=200)], "p99=5ms")
    here = render_report(test, run)
    assert render_report(test, run) == here
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nsvg.fonttype: path\nsavefig.bbox: tight\n")
    code = (
        "import pickle, sys; from rnnserve.load.report import render_report; "
        "sys.stdout.buffer.write(render_report(*pickle.load(sys.stdin.buffer)).encode())"
    )
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path), "PYTHONHASHSEED": "5", "PYTHONPATH": str(TESTS)}
    there = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((test, run)), capture_output=True, check=True, env=environment
    )
    assert there.stdout.decode() == here

"""The rules and the dashboard in `deploy/monitoring/` ask for metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rnnserve.server.counting.exposition import exposition
from rnnserve.server.counting.totals import Total

FOLDER = Path(__file__).parents[3] / "deploy" / "monitoring"


@pytest.mark.parametrize("arguments", [["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]])
def test_the_rules_hold(arguments):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_that_they_ask_for_is_exposed():
    text = exposition({("a", "1"): Total({"graph": "native"})}, {}, "1").decode()
    exposed = set(re.findall(r"^(\w+)", text, re.MULTILINE))
    rules = (FOLDER / "rules.yml").read_text()
    expressions = re.findall(r"\brnnserve_\w+", "\n".join(line for line in rules.splitlines() if "name:" not in line))
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            expressions += re.findall(r"\brnnserve_\w+", target["expr"])
    assert len(set(expressions)) >= 12
    assert set(expressions) <= exposed

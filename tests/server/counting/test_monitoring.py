"""The rules and the dashboard in `deploy/monitoring/` query metrics that exist."""

import json
import re
import shutil
import subprocess

import pytest

from kit.paths import ROOT
from rnnserve.server.counting import places
from rnnserve.server.counting.exposition import ALL, Exposition, Total, Totals

FOLDER = ROOT / "deploy" / "monitoring"


@pytest.mark.parametrize("arguments", [["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]])
def test_alerting_rules_pass_promtool(arguments):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Counted(Totals):
    """Totals of a server that has all that there can be."""

    def sums(self):
        numbers = [1.0] * places.PLACES
        return {
            ("a", "1"): Total({"graph": "native"}, numbers),
            ("", "t"): Total({}, numbers),
            ("", ""): Total({}, numbers),
        }


def everything():
    return Exposition(Counted(), "1").text()[0].decode()


def test_every_exposed_metric_is_declared():
    """`ALL` is what docs/reference/metrics.md is made of."""
    exposed = re.findall(r"^# HELP (\w+) (.+)\n# TYPE \1 (\w+)$", everything(), re.MULTILINE)
    of_text = {"unknown": "untyped"}
    assert sorted(exposed) == sorted((each.name, each.about, of_text.get(each.kind, each.kind)) for each in ALL)


def test_rules_and_dashboard_query_exposed_metrics():
    text = everything()
    exposed = set(re.findall(r"^(\w+)", text, re.MULTILINE))
    rules = (FOLDER / "rules.yml").read_text()
    expressions = re.findall(r"\brnnserve_\w+", "\n".join(line for line in rules.splitlines() if "name:" not in line))
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            expressions += re.findall(r"\brnnserve_\w+", target["expr"])
    assert len(set(expressions)) >= 12
    assert set(expressions) <= exposed

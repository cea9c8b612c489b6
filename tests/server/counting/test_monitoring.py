"""The rules and the dashboard in `deploy/monitoring/` ask for metrics that there are."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rnnserve.server.counting import places
from rnnserve.server.counting.exposition import exposition
from rnnserve.server.counting.totals import Total

ROOT = Path(__file__).parents[3]
FOLDER, DOCUMENT = ROOT / "deploy" / "monitoring", ROOT / "docs" / "metrics.md"


@pytest.mark.parametrize("arguments", [["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]])
def test_the_rules_hold(arguments):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def everything():
    """The text of a server that has all that there can be."""
    process = Total()
    process.counts[places.TLS_NOT_AFTER] = 1.0
    told = {("a", "1"): Total({"graph": "native"}), places.row_of_token("t"): Total(), ("", ""): process}
    return exposition(told, {}, "1").decode()


def test_the_documentation_has_each_family_and_no_other():
    exposed = set(re.findall(r"^# TYPE (\w+) (\w+)$", everything(), re.MULTILINE))
    document = DOCUMENT.read_text()
    documented = {
        (name, kind)
        for names, kind in re.findall(r"^\| (`rnnserve_[^|]+`) \| (\w+) \|", document, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert documented == {(name, kind) for name, kind in exposed if name.startswith("rnnserve_")}
    triton = {name for name, _ in exposed if name.startswith("nv_inference_")}
    assert set(re.findall(r"`(nv_inference_\w+)`", document)) == triton


def test_the_documentation_has_the_labels():
    text = everything()
    document = DOCUMENT.read_text()
    for names, labels in re.findall(r"^\| (`rnnserve_[^|]+`) \| \w+ \| ([^|]*)\|", document, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", names):
            samples = re.findall(rf"^{name}(?:_bucket|_sum|_count)?{{(.*)}} ", text, re.MULTILINE)
            found = {label for sample in samples for label in re.findall(r'(\w+)="', sample)} - {
                "model",
                "version",
                "le",
            }
            told = set(re.findall(r"`(\w+)`", labels)) - {"version"}
            assert found == told or name == "rnnserve_model_info", name


def test_all_that_they_ask_for_is_exposed():
    text = everything()
    exposed = set(re.findall(r"^(\w+)", text, re.MULTILINE))
    rules = (FOLDER / "rules.yml").read_text()
    expressions = re.findall(r"\brnnserve_\w+", "\n".join(line for line in rules.splitlines() if "name:" not in line))
    for panel in json.loads((FOLDER / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            expressions += re.findall(r"\brnnserve_\w+", target["expr"])
    assert len(set(expressions)) >= 12
    assert set(expressions) <= exposed

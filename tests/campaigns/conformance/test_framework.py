"""The framework of the conformance run: what programs print becomes a table. No client, no server and no network."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.errors import MissingDependency
from campaigns.conformance.clients import CLIENTS
from campaigns.conformance.environments import CppProgram, NodeProgram, PythonProgram
from campaigns.conformance.features import FEATURES, HTTP_FEATURES
from campaigns.conformance.http_clients import HTTP_CLIENTS
from campaigns.conformance.outcomes import Kind, Outcome, judge
from campaigns.conformance.running import run_program
from campaigns.conformance.table import merge_transports, render_table

WORKS = Outcome(Kind.WORKS)
PROGRAMS = Path(__file__).with_name("programs")


def line(feature, outcome, **more):
    return json.dumps({"feature": feature, "outcome": outcome, **more})


def every_feature():
    """A line for each feature, as it has to be."""
    return {
        feature.name: line(feature.name, "refused", status=feature.refused, words="no")
        if feature.refused
        else line(feature.name, "works")
        for feature in FEATURES
    }


@pytest.mark.parametrize(("clients", "features"), [(CLIENTS, FEATURES), (HTTP_CLIENTS, HTTP_FEATURES)])
def test_every_client_accounts_for_features_that_there_are(clients, features):
    names = [feature.name for feature in features]
    assert len(set(names)) == len(names)
    assert len({client.title for client in clients}) == len(clients)
    for client in clients:
        assert client.features is features
        assert set(client.lacks) < set(names), client.name
    everyone = [client.name for client in (*CLIENTS, *HTTP_CLIENTS)]
    assert len(set(everyone)) == len(everyone)


def test_what_is_as_it_has_to_be():
    outcomes = judge(every_feature().values(), {})
    assert list(outcomes) == [feature.name for feature in FEATURES]
    assert outcomes["live"] == WORKS
    assert outcomes["log-change"] == Outcome(Kind.REFUSED, "no")


@pytest.mark.parametrize(
    ("name", "printed", "kind", "words"),
    [
        ("live", line("live", "refused", status="INTERNAL", words="no"), Kind.FAILED, "INTERNAL: no"),
        ("live", line("live", "failed", words="AssertionError"), Kind.FAILED, "AssertionError"),
        ("log-change", line("log-change", "works"), Kind.FAILED, "it works, and was to be refused: UNIMPLEMENTED"),
        ("log-change", line("log-change", "refused", status="INTERNAL", words="no"), Kind.FAILED, "INTERNAL: no"),
        ("log-change", line("log-change", "refused", status="", words="no"), Kind.REFUSED, "no"),
    ],
)
def test_one_line(name, printed, kind, words):
    assert judge((every_feature() | {name: printed}).values(), {})[name] == Outcome(kind, words)


def test_what_a_program_does_not_say():
    lines = every_feature()
    del lines["live"], lines["ready"]
    outcomes = judge(lines.values(), {"live": "it cannot"}, "its program ended with status 3")
    assert outcomes["live"] == Outcome(Kind.NOT_OFFERED, "it cannot")
    assert outcomes["ready"] == Outcome(Kind.FAILED, "its program ended with status 3")


def test_what_is_not_offered_and_yet_tried():
    outcome = judge(every_feature().values(), {"live": "it cannot"})["live"]
    assert (outcome.kind, "it cannot" in outcome.words) == (Kind.FAILED, True)


@pytest.mark.parametrize(
    ("lines", "lacks"),
    [
        ([line("no such feature", "works")], {}),
        ([line("live", "works")] * 2, {}),
        ([line("live", "perhaps")], {}),
        (["Traceback"], {}),
        ([], {"no such feature": "it cannot"}),
    ],
)
def test_lines_that_cannot_be_judged(lines, lacks):
    with pytest.raises(ValueError, match=r"no such feature|told before|perhaps|Expecting value"):
        judge(lines, lacks)


def test_a_program_that_ends_early_or_never(tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(line("live", "works"))
    code = "import sys, time; print(open(sys.argv[1]).read(), flush=True); "
    ended = run_program([sys.executable, "-c", code + "sys.exit('the reason')"], plan, {})
    assert ended["live"] == WORKS
    assert ended["ready"] == Outcome(Kind.FAILED, "its program ended with status 1: the reason")
    slow = run_program([sys.executable, "-c", code + "time.sleep(60)"], plan, {}, seconds=1)
    assert slow["live"] == WORKS
    assert slow["ready"] == Outcome(Kind.FAILED, "its program did not end within 1 s")


def test_transports_that_differ_show_the_worse():
    good, bad = {"live": WORKS}, {"live": Outcome(Kind.FAILED, "UNAVAILABLE")}
    assert merge_transports({"fast path": good, "plain": good}) == good
    assert merge_transports({"fast path": good, "plain": bad})["live"] == Outcome(Kind.FAILED, "plain: UNAVAILABLE")


def test_the_table():
    found = judge(every_feature().values(), {})
    columns = {
        "one\\_client": found,
        "other": found | {"live": Outcome(Kind.FAILED, "no answer"), "ready": Outcome(Kind.NOT_OFFERED, "it cannot")},
        "absent": {feature.name: Outcome(Kind.SKIPPED, "no network") for feature in FEATURES},
    }
    lines = render_table(columns, {"one\\_client": "1.2"}).splitlines()
    assert lines[0].split() == ["feature", "one_client", "1.2", "other", "absent"]
    assert lines[1].split() == ["`ServerLive`", "works", "FAILED", "skipped"]
    assert "- `ServerLive`, FAILED: other: no answer" in lines
    title = next(feature.title for feature in FEATURES if feature.name == "ready")
    assert f"- not offered by other, since it cannot: {title}" in lines
    assert "- absent was skipped: no network" in lines


def test_a_tool_that_is_missing_is_the_reason_why_a_client_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for environment, reason in (
        (NodeProgram(tmp_path / "node", ("package@1.0",), "grpc_js.cjs"), "node is missing: install nodejs"),
        (CppProgram(tmp_path / "cpp", ("cpp.cc",)), "g\\+\\+ is missing: install"),
    ):
        with pytest.raises(MissingDependency, match=reason):
            environment.prepare()


def test_each_client_has_a_program_of_its_own():
    files = []
    for client in (*CLIENTS, *HTTP_CLIENTS):
        match client.environment:
            case PythonProgram(_, module):
                files.append(f"{module}.py")
            case NodeProgram(_, _, file):
                files.append(file)
            case CppProgram(_, sources):
                files += sources
    assert len(set(files)) == len(files)
    for file in files:
        assert (PROGRAMS / file).is_file()

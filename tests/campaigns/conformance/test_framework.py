"""The framework of the conformance run: what programs print becomes a table. No client, no server and no network."""

import json
from pathlib import Path

import pytest

from benchmarks.errors import MissingDependency
from campaigns.conformance.clients import CLIENTS
from campaigns.conformance.environments import CppProgram, NodeProgram
from campaigns.conformance.features import FEATURES, HTTP_FEATURES
from campaigns.conformance.http_clients import HTTP_CLIENTS
from campaigns.conformance.outcomes import Kind, Outcome, judge
from campaigns.conformance.table import merge_transports

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


def test_transports_that_differ_show_the_worse():
    good, bad = {"live": WORKS}, {"live": Outcome(Kind.FAILED, "UNAVAILABLE")}
    assert merge_transports({"fast path": good, "plain": good}) == good
    assert merge_transports({"fast path": good, "plain": bad})["live"] == Outcome(Kind.FAILED, "plain: UNAVAILABLE")


def test_a_tool_that_is_missing_is_the_reason_why_a_client_is_skipped(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    for environment, reason in (
        (NodeProgram(tmp_path / "node", ("package@1.0",), "grpc_js.cjs"), "node is missing: install nodejs"),
        (CppProgram(tmp_path / "cpp", ("cpp.cc",)), "g\\+\\+ is missing: install"),
    ):
        with pytest.raises(MissingDependency, match=reason):
            environment.prepare()

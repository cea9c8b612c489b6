"""Widely used clients on each transport: a feature that a client offers works, or is refused as documented."""

import dataclasses
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from benchmarks.environments import Environment
from benchmarks.errors import MissingDependency
from campaigns.conformance.clients import CLIENTS, FOLDER, GRPC_CLIENTS, HTTP_CLIENTS
from campaigns.conformance.features import FEATURES, HTTP_FEATURES, Feature
from campaigns.conformance.served import TRANSPORTS, publish_models, serve_all

SECONDS = 600.0
"""How long a program may take."""

SCHEMATHESIS = Environment(FOLDER / "schemathesis", ("schemathesis==4.32.5",), "schemathesis")


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """Publish the models. Returns the folder, and the correct answers."""
    root = tmp_path_factory.mktemp("conformance")
    return root, publish_models(root)


NATIVE_REFUSES = {"deflate": "UNIMPLEMENTED"}
"""Features that the native transport refuses, as docs/operate/run.md says, and the status."""


@pytest.fixture(scope="session", params=TRANSPORTS)
def plan(published, request, tmp_path_factory):
    """The file with the servers' addresses for the programs."""
    root, answers = published
    with serve_all(root, answers, request.param, tmp_path_factory.mktemp("plan")) as plan:
        yield plan


def mistakes(features: Sequence[Feature], lacks: Mapping[str, str], printed: Iterable[str]) -> dict[str, str]:
    """Compare the output lines of a program with the features. Return the mistakes by feature name.

    A feature that was refused but must work is wrong. So is a feature that worked but must be refused or isn't offered,
    because the documentation would then be out of date, and a feature that the program didn't try.
    """
    lines = [json.loads(line) for line in printed]
    said = {line["feature"]: line for line in lines}
    assert len(said) == len(lines), "a feature was tried twice"
    assert said.keys() <= {feature.name for feature in features}
    found = {}
    for feature in features:
        line = said.get(feature.name)
        if line is None:
            found[feature.name] = "" if feature.name in lacks else "the program did not try it"
            continue
        outcome = line["outcome"]
        is_refused_so = outcome == "refused" and line["status"] in ("", feature.refused)
        if feature.name in lacks:
            found[feature.name] = f"it was tried, although the client does not offer it: {lacks[feature.name]}"
        elif not (is_refused_so if feature.refused else outcome == "works"):
            found[feature.name] = f"{outcome} {line.get('status', '')} {line.get('words', '')}"
    return {name: words for name, words in found.items() if words}


def prepared(make):
    """The result of making an environment; the test is skipped if this machine can't make it."""
    try:
        return make()
    except MissingDependency as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_client_receives_the_requested_results(client, plan, request):
    command = prepared(client.environment.prepare)
    done = subprocess.run(
        [*command, str(plan), *client.lacks], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    print(done.stderr)
    refused = NATIVE_REFUSES if request.node.callspec.params["plan"] == "native" else {}
    features = [dataclasses.replace(each, refused=refused.get(each.name, each.refused)) for each in client.features]
    assert mistakes(features, client.lacks, done.stdout.splitlines()) == {}
    assert done.returncode == 0


def test_server_responds_as_its_openapi_document_describes(plan, tmp_path):
    """Schemathesis sends what the document describes and what it excludes; `schemathesis.toml` has the exceptions."""
    prepared(SCHEMATHESIS.ensure)
    address = json.loads(plan.read_text())["http"]["plain"]
    settings = Path(__file__).with_name("schemathesis.toml")
    command = [str(SCHEMATHESIS.python.with_name("schemathesis")), "--config-file", str(settings), "run"]
    command += [f"http://{address}/openapi.json", "--seed", "1", "--no-shrink", "--no-color", "--continue-on-failure"]
    command += ["--request-timeout", "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("clients", "features"), [(GRPC_CLIENTS, FEATURES), (HTTP_CLIENTS, HTTP_FEATURES)])
def test_listed_gaps_of_clients_are_real(clients, features):
    assert all(
        client.features is features and client.lacks.keys() < {each.name for each in features} for client in clients
    )


WORKS = {"outcome": "works"}
REFUSED = {"outcome": "refused", "status": "UNIMPLEMENTED", "words": "no"}


@pytest.mark.parametrize(
    ("changed", "lacks", "wrong"),
    [
        ({}, {}, set()),
        ({"live": REFUSED}, {}, {"live"}),
        ({"live": {"outcome": "failed", "words": "AssertionError"}}, {}, {"live"}),
        ({"log-change": WORKS}, {}, {"log-change"}),
        ({"log-change": REFUSED | {"status": "INTERNAL"}}, {}, {"log-change"}),
        ({"live": None}, {}, {"live"}),
        ({"live": None}, {"live": "it cannot"}, set()),
        ({}, {"live": "it cannot"}, {"live"}),
    ],
)
def test_mistakes_of_a_client_program_are_detected(changed, lacks, wrong):
    said = {each.name: REFUSED | {"status": each.refused} if each.refused else WORKS for each in FEATURES} | changed
    printed = [json.dumps({"feature": name, **line}) for name, line in said.items() if line is not None]
    assert mistakes(FEATURES, lacks, printed).keys() == wrong

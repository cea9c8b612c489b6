"""The manifests of Kubernetes and KServe, against their schemas and one another, without a cluster."""

import copy
import shutil
import subprocess
import sys
from typing import Any

from deploy.check import DEPLOY, build, mistakes

KUBERNETES, KSERVE = DEPLOY / "kubernetes", DEPLOY / "kserve"
EXAMPLES = sorted(path.parent for path in KSERVE.glob("examples/*/kustomization.yaml"))


def test_each_example_has_an_inference_service():
    """Named as Kubernetes lets it be, with its model's folder, and of a format that one of the runtimes serves."""
    formats = {
        (form["name"], form["version"]): it["spec"]["protocolVersions"]
        for it in build(KSERVE / "runtimes")
        for form in it["spec"]["supportedModelFormats"]
        if form["autoSelect"]
    }
    served = {}
    for folder in EXAMPLES:
        (service,) = (it for it in build(folder) if it["kind"] == "InferenceService")
        model = service["spec"]["predictor"]["model"]
        form = model["modelFormat"]
        assert model["protocolVersion"] in formats[form["name"], form["version"]]
        assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
        served[service["metadata"]["name"]] = model["storageUri"].removeprefix("pvc://rnnserve-repository")
    examples = sorted(path.stem for path in (DEPLOY.parent / "examples").glob("*.py"))
    assert served == {name.replace("_", "-"): f"/{name}" for name in examples} | {"models": ""}


def test_servers_of_a_single_model_run_beside_servers_of_the_repository():
    """In one namespace: no object has the name of another, and no selector the pods of the others."""
    base, one = build(KUBERNETES / "base"), build(KUBERNETES / "one-model")
    assert not {(it["kind"], it["metadata"]["name"]) for it in base} & {
        (it["kind"], it["metadata"]["name"]) for it in one
    }
    for these, others in ((base, one), (one, base)):
        (deployment,) = (it for it in others if it["kind"] == "Deployment")
        said = mistakes([*(it for it in these if it["kind"] != "Deployment"), deployment])
        selecting = [it for it in these if it["kind"] in ("Service", "PodDisruptionBudget")]
        assert len([line for line in said if "selects none of the pods" in line]) == len(selecting) == 3


def test_autoscaling_follows_the_waiting_time_of_requests():
    """By rules that there are. The model is the service's."""
    rules = (DEPLOY / "monitoring/rules.yml").read_text()
    (scaled,) = (it for it in build(KUBERNETES / "autoscaled") if it["kind"] == "ScaledObject")
    queries = [scaled["spec"]["triggers"][0]["metadata"]["query"]]
    (service,) = (it for it in build(KSERVE / "examples/sentiment") if it["kind"] == "InferenceService")
    assert service["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "keda"
    (metric,) = service["spec"]["predictor"]["autoScaling"]["metrics"]
    queries.append(metric["external"]["metric"]["query"])
    assert queries[1].count('{model="sentiment"}') == 2
    for query in queries:
        assert "max(rnnserve:queue_run:ratio" in query
    assert "record: rnnserve:queue_run:ratio" in rules


WRONG = {
    "a misspelt field": (
        "Deployment",
        ("spec", "template", "spec", "containers", 0, "livenesProbe"),
        {},
        "livenesProbe",
    ),
    "a text for a number": ("Deployment", ("spec", "replicas"), "2", "spec.replicas: '2' is not of type"),
    "a kind without schema": ("Service", ("kind",), "Sevrice", "deploy/schemas has no schema for 'v1 Sevrice'"),
    "a selector of nothing": ("Service", ("spec", "selector"), {"app": "it"}, "selects none of the pods"),
    "a port of no name": ("Service", ("spec", "ports", 0, "targetPort"), "htpp", "no container has a port named htpp"),
    "a probe of no port": (
        "Deployment",
        ("spec", "template", "spec", "containers", 0, "readinessProbe", "grpc", "port"),
        8003,
        "readinessProbe uses a port that the container does not declare: 8003",
    ),
    "a mount of nothing": (
        "Deployment",
        ("spec", "template", "spec", "volumes", 0, "name"),
        "modles",
        "modles must be both declared",
    ),
    "nobody's account": ("Deployment", ("spec", "template", "spec", "serviceAccountName"), "it", "there is no it"),
    "nothing to scale": ("ScaledObject", ("spec", "scaleTargetRef", "name"), "it", "these files have no deployment it"),
}


def test_each_mistake_is_named():
    right = build(KUBERNETES / "autoscaled")
    for mistake, (kind, path, value, said) in WRONG.items():
        objects = copy.deepcopy(right)
        place: Any = next(it for it in objects if it["kind"] == kind)
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        assert any(said in line for line in mistakes(objects)), mistake


def test_command_fails_if_a_manifest_is_wrong(tmp_path):
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    command = [sys.executable, tmp_path / "deploy/check.py"]
    assert subprocess.run(command, capture_output=True, text=True).returncode == 0
    file = tmp_path / "deploy/kserve/runtimes/one-model.yaml"
    file.write_text(file.read_text().replace("readinessProbe:", "readynessProbe:"))
    (tmp_path / "deploy/kubernetes/base/services.yaml").unlink()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "'readynessProbe' was unexpected" in done.stdout
    assert "services.yaml" in done.stdout

"""What the manifests have containers do: their commands, probes and ends, as processes of this machine."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.check import DEPLOY, build, folders
from kit.serve_options import configured

NONE_MAY = 65534
NAME = "a-name-of-its-own"
"""Of an InferenceService."""

LEAVES = 6.5
"""Seconds that a supervisor takes beside drain and grace, at most (docs/operate/run.md)."""


def found_pods():
    """Each pod of our servers, by what it is a part of, with the seconds that it may take to end."""
    grace = {
        it["spec"]["predictor"]["terminationGracePeriodSeconds"]
        for folder in folders()
        for it in build(folder)
        if it["kind"] == "InferenceService"
    }
    (grace,) = grace  # KServe's runtimes have none: it is the same of all services
    for folder in folders():
        for it in build(folder):
            if it["kind"] == "Deployment":
                yield (
                    str(folder.relative_to(DEPLOY)),
                    it["spec"]["template"]["spec"],
                    it["spec"]["template"]["metadata"],
                )
            elif it["kind"] == "ServingRuntime":
                pod = {**it["spec"], "terminationGracePeriodSeconds": grace}
                yield f"kserve/{it['metadata']['name']}", pod, {"annotations": it["spec"]["annotations"]}


@pytest.fixture(scope="module")
def pods():
    """Each pod and its metadata, by the folder or the runtime that it is a part of."""
    return {name: (pod, metadata) for name, pod, metadata in found_pods()}


def command_of(pod):
    """The container's command, with KServe's placeholder filled in, and the image's own program before it."""
    (container,) = pod["containers"]
    assert "command" not in container
    return ["rnnserve", *(word.replace("{{.Name}}", NAME) for word in container["args"])]


def options_of(pod):
    program, command, *words = command_of(pod)
    assert (program, command) == ("rnnserve", "serve")
    found = configured(*words)
    return SimpleNamespace(**{**vars(found.settings), **vars(found.command)})


def test_server_accepts_the_command_of_the_pod(pods):
    for pod, _ in pods.values():
        options = options_of(pod)
        assert options.repository == Path("/mnt/models")
        assert options.host == "0.0.0.0"
        (container,) = pod["containers"]
        assert options.workers == int(container["resources"]["requests"]["cpu"])


def test_ports_probes_and_annotations_match_the_server(pods):
    for pod, metadata in pods.values():
        options = options_of(pod)
        (container,) = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert sorted(ports.values()) == sorted([options.grpc_port, options.http_port, options.metrics_port])
        assert {name for name, port in ports.items() if port == options.grpc_port} <= {"grpc", "h2c"}
        assert (ports["http"], ports["metrics"]) == (options.http_port, options.metrics_port)
        for name in ("startupProbe", "readinessProbe"):
            asked = container[name]["grpc"]
            assert asked["port"] == options.grpc_port
            if options.model_name is None:
                assert (asked["service"], options.ready) == ("", "all")
            else:
                assert asked["service"].replace("{{.Name}}", NAME) == options.model_name
        assert container["livenessProbe"]["httpGet"] == {"port": "http", "path": "/v2/health/live"}
        told = metadata["annotations"]
        assert (told["prometheus.io/scrape"], told["prometheus.io/path"]) == ("true", "/metrics")
        assert int(told["prometheus.io/port"]) == options.metrics_port


def test_pod_has_time_to_start_and_to_end(pods):
    for pod, _ in pods.values():
        options = options_of(pod)
        (container,) = pod["containers"]
        startup, sleep = container["startupProbe"], container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert startup["periodSeconds"] * startup["failureThreshold"] > 2 * options.load_timeout
        # Clients that have not looked a name up again are answered for longer than any request may take.
        assert sleep > options.grace
        assert pod["terminationGracePeriodSeconds"] > sleep + options.drain + options.grace + LEAVES


def test_pod_has_few_privileges(pods):
    for pod, _ in pods.values():
        (container,) = pod["containers"]
        may = {**pod.get("securityContext", {}), **container["securityContext"]}
        assert may == {
            "runAsNonRoot": True,
            "runAsUser": NONE_MAY,
            "runAsGroup": NONE_MAY,
            "seccompProfile": {"type": "RuntimeDefault"},
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")} == {"/tmp"}


def test_image_and_manifests_agree(pods):
    """On the program, the user, and the folder that is served."""
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    said = {word: rest for word, _, rest in (line.partition(" ") for line in lines)}
    assert said["ENTRYPOINT"] == '["rnnserve"]'
    assert said["USER"] == f"{NONE_MAY}:{NONE_MAY}"
    assert "/mnt/models" in said["CMD"]
    assert {shlex.split(pod["containers"][0]["image"])[0] for pod, _ in pods.values()} == {
        "registry.example/rnnserve:0.3.0"
    }

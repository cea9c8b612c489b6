"""What the manifests have containers do: their commands, probes and ends, as processes of this machine."""

import os
import shlex
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.check import DEPLOY, build, folders
from kit.serve_options import configured
from kit.waiting import until

from .confined import NONE_MAY, confined, need_namespaces

BIN = Path(sys.executable).parent
NAME = "a-name-of-its-own"
"""Of an InferenceService."""

LEAVES = 6.5
"""Seconds that a supervisor takes beside drain and grace, at most (docs/operations.md)."""

PROBE = """
import sys, grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}") as channel:
    asked = health_pb2.HealthCheckRequest(service=sys.argv[2])
    said = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=float(sys.argv[3]))
sys.exit(said.status != health_pb2.HealthCheckResponse.SERVING)
"""
"""What the kubelet does for a probe by gRPC."""


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


def test_the_server_takes_the_command(pods):
    for pod, _ in pods.values():
        options = options_of(pod)
        assert options.repository == Path("/mnt/models")
        assert options.host == "0.0.0.0"
        (container,) = pod["containers"]
        assert options.workers == int(container["resources"]["requests"]["cpu"])


def test_ports_probes_and_annotations_are_what_it_listens_on(pods):
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


def test_it_has_time_to_start_and_to_end(pods):
    for pod, _ in pods.values():
        options = options_of(pod)
        (container,) = pod["containers"]
        startup, sleep = container["startupProbe"], container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert startup["periodSeconds"] * startup["failureThreshold"] > 2 * options.load_timeout
        # Clients that have not looked a name up again are answered for longer than any request may take.
        assert sleep > options.grace
        assert pod["terminationGracePeriodSeconds"] > sleep + options.drain + options.grace + LEAVES


def test_it_may_do_little(pods):
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


def test_the_runtimes_differ_in_what_is_mounted_alone(pods):
    """A model's folder, or a repository."""
    one, many = (pods[f"kserve/{name}"][0]["containers"][0] for name in ("rnnserve", "rnnserve-repository"))
    assert set(one["args"]) ^ set(many["args"]) == {"--model-name={{.Name}}", "--ready=all"}
    asked = {"startupProbe", "readinessProbe", "args"}
    assert {name: part for name, part in one.items() if name not in asked} == {
        name: part for name, part in many.items() if name not in asked
    }


def test_it_serves_is_probed_and_ends_as_a_process(pods, repository, tmp_path):
    """As nobody, in a read-only tree, without a capability."""
    need_namespaces()
    pod, _ = pods["kubernetes/base"]
    (container,) = pod["containers"]
    command, options = command_of(pod), options_of(pod)
    environment = {
        "PATH": f"{BIN}:{os.defpath}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    }
    served = sorted(path.name for path in repository.iterdir())
    with confined(command, repository, {"/tmp": 1}, environment, tmp_path / "log") as server:
        assert server.popen.stdout.readline() == f"gRPC on 0.0.0.0:{options.grpc_port}\n", server.log
        status, mounts = server.status(), server.mounts()
        assert status["NoNewPrivs"] == "1"
        assert {int(status[caps], 16) for caps in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
        assert status["Uid"].split()[0] == str(os.getuid() or NONE_MAY)
        assert "ro" in mounts["/"] & mounts["/mnt/models"]

        def probe(kind, service=None):
            asked = container[kind]["grpc"]
            named = asked["service"].replace("{{.Name}}", NAME) if service is None else service
            words = [sys.executable, "-c", PROBE, str(asked["port"]), named]
            return server.ask(*words, str(container[kind].get("timeoutSeconds", 5)))

        assert probe("startupProbe").returncode == 0
        assert probe("readinessProbe").returncode == 0
        assert [probe("readinessProbe", model).returncode for model in served] == [0] * len(served)
        assert probe("readinessProbe", "another").returncode != 0  # a name that is not served is not ready
        live = f"http://127.0.0.1:{options.http_port}{container['livenessProbe']['httpGet']['path']}"
        metrics = f"http://127.0.0.1:{options.metrics_port}/metrics"
        for address in (live, metrics):
            fetch = f"import urllib.request; print(urllib.request.urlopen({address!r}).read().decode())"
            asked = server.ask(sys.executable, "-c", fetch)
            assert asked.returncode == 0, asked.stderr
        assert f'rnnserve_model_ready{{model="{served[0]}",version="1"}} 1' in asked.stdout
        # As the kubelet ends it: it says that it is not ready, and ends in its time.
        server.popen.send_signal(signal.SIGTERM)
        until(lambda: probe("readinessProbe").returncode != 0)
        server.popen.stdout.read()
        assert server.popen.wait(options.drain + options.grace + LEAVES) == 0, server.log
    assert "Traceback" not in server.log


def test_the_image_and_the_manifests_agree(pods):
    """On the program, the user, and the folder that is served."""
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    said = {word: rest for word, _, rest in (line.partition(" ") for line in lines)}
    assert said["ENTRYPOINT"] == '["rnnserve"]'
    assert said["USER"] == f"{NONE_MAY}:{NONE_MAY}"
    assert "/mnt/models" in said["CMD"]
    assert {shlex.split(pod["containers"][0]["image"])[0] for pod, _ in pods.values()} == {
        "registry.example/rnnserve:0.2.0"
    }

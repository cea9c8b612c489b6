"""Check the manifests of `deploy/kubernetes` and `deploy/kserve` without a cluster: `python deploy/check.py`.

Each folder is built as `kubectl apply -k` would build it, and each object is compared with the schema of its kind,
without unknown fields. The check also covers references, which schemas can't express: selectors must match pods, and
referenced ports, volumes and objects must exist.
"""

import functools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

__all__ = ["DEPLOY", "build", "folders", "mistakes"]

DEPLOY = Path(__file__).parent
KUBECTL = Path(sys.executable).parent / "kubectl"
METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

Object = Mapping[str, Any]


def folders(root: Path = DEPLOY) -> list[Path]:
    """Return the folders to apply: folders with a kustomization, except components."""
    found = [path for path in sorted(root.rglob("kustomization.yaml")) if "kind: Component" not in path.read_text()]
    return [path.parent for path in found]


def build(folder: Path) -> list[Object]:
    """Build the objects of a folder.

    Raises:
        ValueError: If kustomize fails. The message is kustomize's.
    """
    command = [str(KUBECTL), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - no shell
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return list(yaml.safe_load_all(done.stdout))


def mistakes(objects: Sequence[Object]) -> list[str]:
    """Return the mistakes in objects that are applied together, a line each."""
    wrong = [f"{_title(it)}: {said}" for it in objects for said in _against_schema(it)]
    return wrong or [f"{_title(it)}: {said}" for it in objects for said in _against_others(it, objects)]


def _title(it: Object) -> str:
    return f"{it.get('kind')} {it.get('metadata', {}).get('name')}"


@functools.cache
def _schemas() -> dict[str, Any]:
    """Schemas by version and kind, in one document with all referenced schemas."""
    made: dict[str, Any] = {"kinds": {}, "$defs": {}}
    for file in ("kubernetes.json", "custom.json"):
        for part, schemas in json.loads((DEPLOY / "schemas" / file).read_text()).items():
            made[part].update(schemas)
    return made


def _against_schema(it: Object) -> Iterator[str]:
    schemas = _schemas()
    kind = f"{it.get('apiVersion')} {it.get('kind')}"
    if kind not in schemas["kinds"]:
        yield f"deploy/schemas has no schema for {kind!r}"
        return
    for part, schema in ((it, schemas["kinds"][kind]), (it.get("metadata", {}), {"$ref": f"#/$defs/{METADATA}"})):
        validator = jsonschema.Draft202012Validator({**schema, "$defs": schemas["$defs"]})
        for error in sorted(validator.iter_errors(part), key=lambda error: list(map(str, error.absolute_path))):
            place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
            yield f"{place or '.'}: {error.message}"


def _against_others(it: Object, objects: Sequence[Object]) -> Iterator[str]:
    spec = it.get("spec", {})
    match it["kind"]:
        case "Deployment":
            yield from _pod_mistakes(spec["template"]["spec"])
            if not _selects(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]):
                yield ".spec.selector: does not match the labels of its own template"
            account = spec["template"]["spec"].get("serviceAccountName")
            if account is not None and account not in _names(objects, "ServiceAccount"):
                yield f".spec.template.spec.serviceAccountName: there is no {account}"
        case "ServingRuntime":
            yield from _pod_mistakes(spec)
        case "Service" | "PodDisruptionBudget":
            selector = spec.get("selector", {})
            labels = selector.get("matchLabels", {}) if it["kind"] == "PodDisruptionBudget" else selector
            pods = [pod for pod in _pods(objects) if _selects(labels, pod["labels"])]
            if not labels or not pods:
                yield f".spec.selector: {labels} selects none of the pods in these files"
            for port in spec.get("ports", []) if pods and "ports" in pods[0] else []:
                if port["targetPort"] not in pods[0]["ports"]:
                    yield f".spec.ports: no container has a port named {port['targetPort']}"
        case "ScaledObject":
            target = spec["scaleTargetRef"]["name"]
            if target not in _names(objects, "Deployment"):
                yield f".spec.scaleTargetRef: these files have no deployment {target}"


def _names(objects: Sequence[Object], kind: str) -> set[str]:
    return {it["metadata"]["name"] for it in objects if it["kind"] == kind}


def _selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def _pods(objects: Sequence[Object]) -> Iterator[Mapping[str, Any]]:
    """The labels of the pods that objects create, and the names of their ports, if known."""
    for it in objects:
        if it["kind"] == "Deployment":
            template = it["spec"]["template"]
            ports = [port["name"] for container in template["spec"]["containers"] for port in container["ports"]]
            yield {"labels": template["metadata"]["labels"], "ports": ports}
        elif it["kind"] == "InferenceService":  # KServe sets these labels, and the runtime defines the ports
            name = it["metadata"]["name"]
            yield {"labels": {"serving.kserve.io/inferenceservice": name, "component": "predictor"}}


def _pod_mistakes(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield inconsistencies between the parts of a pod."""
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    mounted = set()
    for container in pod["containers"]:
        ports = {port["name"] for port in container.get("ports", [])}
        numbers = {port["containerPort"] for port in container.get("ports", [])}
        mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            for asked in container.get(name, {}).values():
                if isinstance(asked, dict) and asked.get("port") not in ports | numbers:
                    yield f"{name} uses a port that the container does not declare: {asked.get('port')}"
    for name in sorted(mounted ^ volumes):
        yield f"volumes: {name} must be both declared and mounted"


def main() -> int:
    """Check all folders, and print the mistakes."""
    wrong = 0
    for folder in folders():
        try:
            said = mistakes(build(folder))
        except ValueError as error:
            said = [str(error)]
        for line in said:
            print(f"{folder.relative_to(DEPLOY.parent)}: {line}")
        wrong += len(said)
    print(f"{len(folders())} folders of manifests: {wrong or 'no'} mistakes")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

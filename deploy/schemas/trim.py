"""Make the schemas for checking manifests, from Kubernetes' schema and from the CRDs of KServe and KEDA.

    python deploy/schemas/trim.py _definitions.json serving.kserve.io_servingruntimes.yaml …

The first file is Kubernetes' own schema, as the wheel `kubernetes-validate` 1.37.0 has it in
`kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict/`. The others are CRDs:

- github.com/kserve/kserve at aaac4e294dae2c7b1aa1886447793f3aa1c30912:
  `config/crd/full/serving.kserve.io_servingruntimes.yaml`, `config/crd/full/serving.kserve.io_inferenceservices.yaml`
- github.com/kedacore/keda at 8b4f083ca8c8c2baf8477e322bd4d16ac4dfa09a:
  `config/crd/bases/keda.sh_scaledobjects.yaml`

All of them are under the license Apache-2.0, like this project. Only the parts that our manifests use are kept, without
descriptions and without duplicates. Schemas refuse unknown fields, as `kubectl apply --validate=strict` does.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent

KINDS = {
    "apps/v1 Deployment": "io.k8s.api.apps.v1.Deployment",
    "policy/v1 PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
    "v1 Service": "io.k8s.api.core.v1.Service",
    "v1 ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
}
"""The Kubernetes kinds in our manifests, and their definitions."""

METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

OF_OTHERS = (
    *("sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm", "paddle"),
    *("explainer", "transformer"),
)
"""Fields of an InferenceService for other servers or additional containers. Each repeats a container."""

_WORDS = {"description", "x-kubernetes-validations", "x-kubernetes-map-type", "x-kubernetes-list-type", "default"}
_SHARED_BYTES = 200
"""A repeated part with at least this many bytes of JSON is written once."""


def kubernetes(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas of `KINDS`, with all referenced schemas."""
    wanted, found = [*KINDS.values(), METADATA], {}
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = _bare(definitions[name])
            wanted += _referred(found[name])
    return {"kinds": {kind: {"$ref": f"#/$defs/{name}"} for kind, name in KINDS.items()}, "$defs": found}


def custom(definitions: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The schemas of the versions of custom resources, each part that recurs once."""
    kinds: dict[str, Any] = {}
    for crd in definitions:
        names = crd["spec"]["names"]
        for version in crd["spec"]["versions"]:
            schema = _strict(_bare(version["schema"]["openAPIV3Schema"]))
            schema["properties"].pop("status", None)
            for name in OF_OTHERS:
                schema["properties"]["spec"]["properties"].pop(name, None)
                predictor = schema["properties"]["spec"]["properties"].get("predictor", {})
                predictor.get("properties", {}).pop(name, None)
            kinds[f"{crd['spec']['group']}/{version['name']} {names['kind']}"] = schema
    counts: dict[str, int] = {}
    for schema in kinds.values():
        for part in _parts(schema):
            counts[_key(part)] = counts.get(_key(part), 0) + 1
    shared: dict[str, Any] = {}
    return {"kinds": {kind: _share(schema, counts, shared) for kind, schema in kinds.items()}, "$defs": shared}


def _bare(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a schema without descriptions and cluster-only keywords. Property names are kept."""
    if isinstance(schema, list):
        return [_bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for word, value in schema.items():
        if word in ("properties", "patternProperties"):
            kept[word] = {name: _bare(part) for name, part in value.items()}
        elif word == "$ref":
            kept[word] = "#/$defs/" + value.rpartition("/")[2]
        elif word not in _WORDS:
            kept[word] = _bare(value)
    return kept


def _strict(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Convert an OpenAPI schema to a JSON schema that refuses unknown fields."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {word: _strict(value) for word, value in schema.items() if not word.startswith("x-kubernetes-")}
    if "properties" in schema and isinstance(schema["properties"], dict):
        made["properties"] = {name: _strict(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    return made


def _referred(schema: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for part in schema.values():
            yield from _referred(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _referred(part)


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A schema and those in it."""
    yield schema
    for inner in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from _parts(inner)


def _key(schema: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).hexdigest()[:12]


def _share(schema: dict[str, Any], counts: Mapping[str, int], shared: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with its repeated parts replaced by references to `shared`."""
    key, made = _key(schema), dict(schema)
    if counts[key] > 1 and key in shared:
        return {"$ref": f"#/$defs/{key}"}
    if "properties" in made:
        made["properties"] = {name: _share(part, counts, shared) for name, part in made["properties"].items()}
    for word in ("items", "additionalProperties"):
        if isinstance(made.get(word), dict):
            made[word] = _share(made[word], counts, shared)
    if counts[key] > 1 and len(json.dumps(schema)) >= _SHARED_BYTES:
        shared[key] = made
        return {"$ref": f"#/$defs/{key}"}
    return made


def main(kubernetes_file: str, *crd_files: str) -> None:
    """Write `kubernetes.json` and `custom.json`."""
    made = {
        "kubernetes": kubernetes(json.loads(Path(kubernetes_file).read_text())["$defs"]),
        "custom": custom([yaml.safe_load(Path(file).read_text()) for file in crd_files]),
    }
    for name, schemas in made.items():
        (HERE / f"{name}.json").write_text(json.dumps(schemas, sort_keys=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

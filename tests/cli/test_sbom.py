"""The bill of materials that `rnnserve inspect --sbom` prints."""

import hashlib
import importlib.metadata
import json
import sys

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from kit.bad_versions import publish_good
from kit.signed_versions import make_key, publish_signed
from rnnserve.cli import main


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "repository"


def test_sbom_has_versions_files_signers_and_packages(tmp_path, repository, capsys):
    key = make_key(tmp_path, "ours")
    folder = publish_signed(repository, key, sequence=4)
    publish_good(repository, "other")
    assert main(["inspect", str(repository), "--sbom"]) == 0
    text = capsys.readouterr().out
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    models = {each["name"]: each for each in bom["components"] if each["type"] == "machine-learning-model"}
    packages = {each["name"]: each["version"] for each in bom["components"] if each["type"] == "library"}
    assert {name: model["version"] for name, model in models.items()} == {"good": "1", "other": "1"}
    files = {each["name"]: each["hashes"] for each in models["good"]["components"]}
    graph = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert files["model.onnx"] == [{"alg": "SHA-256", "content": graph}]
    said = {each["name"]: each["value"] for each in models["good"]["properties"]}
    assert (said["rnnserve:signature:key_id"], said["rnnserve:signature:sequence"]) == (key.key.id, "4")
    assert "rnnserve:signature:key_id" not in {each["name"] for each in models["other"]["properties"]}
    for name in ("onnxruntime", "grpcio", "numpy", "protobuf", "cryptography", "cffi", "uvicorn", "websockets"):
        assert packages[name] == importlib.metadata.version(name)
    assert not {"torch", "onnx", "pytest", "cyclonedx-python-lib"} & packages.keys()


def test_missing_package_is_named(repository, capsys, monkeypatch):
    publish_good(repository)
    monkeypatch.setitem(sys.modules, "cyclonedx.model.bom", None)
    assert main(["inspect", str(repository), "--sbom"]) == 1
    assert "pip install '.[sbom]'" in capsys.readouterr().err

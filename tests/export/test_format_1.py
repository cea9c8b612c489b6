"""A version in the first manifest format, which an earlier rnnserve published, can be read, served and verified."""

import tarfile

import pytest

from kit.loaded import load_model
from kit.paths import TESTS
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MODEL, SCRIPT, read_version

ARCHIVE = TESTS / "data" / "format_1" / "direction_small.tar.xz"


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    repository = tmp_path_factory.mktemp("format_1")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(repository, filter="data")
    return repository / "direction_small" / "1"


def test_implied_fields_of_format_1_are_added(version):
    manifest = read_version(version).manifest
    assert manifest.format == 1
    assert {tensor.name: tensor.lengths_of for tensor in manifest.inputs if tensor.lengths_of} == {
        "lengths": "sequence"
    }
    assert [tensor.name for tensor in manifest.outputs if tensor.zeros_after_lengths] == ["output"]
    assert manifest.batching == manifest_pb2.Batching(mode=manifest_pb2.BATCHING_PADDED)


def test_format_1_version_verifies(version):
    checks = verify_version(version, progress=False)
    assert [check for check in checks if check.failures] == []
    names = {check.name for check in checks}
    assert f"{GOLDEN}: {MODEL} reproduces the results" in names
    assert f"parity: {SCRIPT} and {MODEL} compute the same results" in names


def test_server_loads_a_format_1_version(version):
    model = load_model(version, version.parent.name)
    assert [spec.optional for spec in model.signature.inputs.values()] == [False, True, True]
    assert list(model.signature.outputs) == ["logits", "output", "h_n"]

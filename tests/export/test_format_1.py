"""A version that an earlier rnnserve published, in manifests' first format: it is read, served and verified as ever."""

import tarfile

import numpy as np
import pytest

from kit.paths import TESTS
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MODEL, SCRIPT, read_version
from rnnserve.protos.golden import load_cases
from rnnserve.server.repository.load_version import load_model

ARCHIVE = TESTS / "data" / "format_1" / "direction_small.tar.xz"


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    repository = tmp_path_factory.mktemp("format_1")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(repository, filter="data")
    return repository / "direction_small" / "1"


def test_what_the_format_implies_is_added(version):
    manifest = read_version(version).manifest
    assert manifest.format == 1
    assert {tensor.name: tensor.lengths_of for tensor in manifest.inputs if tensor.lengths_of} == {
        "lengths": "sequence"
    }
    assert [tensor.name for tensor in manifest.outputs if tensor.zeros_after_lengths] == ["output"]
    assert manifest.batching == manifest_pb2.Batching(mode=manifest_pb2.BATCHING_PADDED)


def test_its_golden_cases_are_walks(version):
    cases = load_cases(read_version(version).files[GOLDEN])
    assert {case.kind for case in cases} == {"step", "walk", "random"}


def test_it_verifies(version):
    checks = verify_version(version, progress=False)
    assert [check for check in checks if check.failures] == []
    names = {check.name for check in checks}
    assert f"{GOLDEN}: {MODEL} gives its results" in names
    assert f"parity: {SCRIPT} and {MODEL} compute the same" in names


def test_the_server_loads_it(version):
    model = load_model(version, version.parent.name, "1", "cpu")
    assert [spec.optional for spec in model.signature.inputs.values()] == [False, True, True]
    assert list(model.signature.outputs) == ["logits", "output", "h_n"]


def test_a_walk_that_is_off_is_told(version, monkeypatch):
    cases = load_cases(read_version(version).files[GOLDEN])
    walk = next(case for case in cases if case.kind == "walk")
    walk.eager["logits"] = walk.eager["logits"] + np.float32(2e-5)
    monkeypatch.setattr("rnnserve.export.verify.load_cases", lambda _: cases)
    failures = {check.name: check.failures for check in verify_version(version, progress=False) if check.failures}
    assert failures.keys() == {f"{GOLDEN}: {side} gives its results" for side in (MODEL, SCRIPT)}
    assert all(', walk of "input"' in line for lines in failures.values() for line in lines)

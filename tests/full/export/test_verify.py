"""Verification of versions changed on purpose: further files, and a version without a script."""

import torch

from kit.forged_versions import changed_head, failures, forge
from rnnserve.export import script, script_bytes
from rnnserve.export.verify import verify_version
from rnnserve.models import Architecture, DirectionClassifier
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT, read_version


def test_scan_graph_with_different_results_is_reported(version):
    forge(version, {SCAN: changed_head(read_version(version).files[SCAN])})
    assert failures(version).keys() == {
        f"{GOLDEN}: {SCAN} reproduces the results",
        f"parity: {SCRIPT} and {SCAN} compute the same results",
    }


def test_script_with_other_weights_is_reported(version):
    """A relu RNN has the tensors of a tanh one: only values can tell."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        classifier = DirectionClassifier.of(Architecture(hidden=4, nonlinearity="relu"))
    forge(version, {SCRIPT: script_bytes(script(classifier.eval()))})
    assert failures(version).keys() == {
        f"{GOLDEN}: {SCRIPT} reproduces the results",
        f"parity: {SCRIPT} and {MODEL} compute the same results",
        f"parity: {SCRIPT} and {SCAN} compute the same results",
    }


def test_wrong_batching_mode_is_reported(version):
    forge(version, {}, lambda manifest: setattr(manifest.batching, "mode", manifest_pb2.BATCHING_ALONE))
    (said,) = failures(version)[f"batching: {MANIFEST} records what is safe"]
    assert "records BATCHING_ALONE, found BATCHING_PADDED" in said


def test_version_without_a_script_reports_the_skipped_checks(version):
    forge(version, {SCRIPT: None, SCAN: None})
    checks = verify_version(version, progress=False)
    assert not any(check.failures for check in checks)
    assert checks[-1].name == f"parity and batching: not repeated, because there is no {SCRIPT} to compare {MODEL} with"
    assert f"{GOLDEN}: {MODEL} reproduces the results" in {check.name for check in checks}

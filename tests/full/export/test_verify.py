"""Verification of versions changed on purpose: further files, and a version without a script."""

import onnx
import torch

from kit.forged_versions import changed_head, failures, failures_without_parity, forge
from rnnserve.export import script, script_bytes
from rnnserve.export.verify import verify_version
from rnnserve.models import Architecture, DirectionClassifier
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT, read_version


def test_scan_graph_that_computes_something_else_is_reported(version):
    forge(version, {SCAN: changed_head(read_version(version).files[SCAN])})
    assert failures(version).keys() == {
        f"{GOLDEN}: {SCAN} reproduces the results",
        f"parity: {SCRIPT} and {SCAN} compute the same results",
    }


def test_scan_graph_of_other_tensors_is_reported(version):
    graph = onnx.load_model_from_string(read_version(version).files[SCAN])
    graph.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "rows"
    forge(version, {SCAN: graph.SerializeToString()})
    (said,) = failures_without_parity(version)[f"{MANIFEST}: describes this model"]
    assert f"does not describe {SCAN}: onnx, axis names: output" in said


def test_script_of_other_weights_is_reported(version):
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


def test_batching_mode_that_was_not_found_is_reported(version):
    forge(version, {}, lambda manifest: setattr(manifest.batching, "mode", manifest_pb2.BATCHING_ALONE))
    (said,) = failures(version)[f"batching: {MANIFEST} records what is safe"]
    assert "says BATCHING_ALONE, found BATCHING_PADDED" in said


def test_limits_for_no_device_are_reported(version):
    forge(version, {}, lambda manifest: manifest.ClearField("replay_limits"))
    assert "has no limits" in failures_without_parity(version)[f"{GOLDEN}: {MODEL} reproduces the results"][0]


def test_version_without_a_script_names_the_checks_that_are_not_repeated(version):
    forge(version, {SCRIPT: None, SCAN: None})
    checks = verify_version(version, progress=False)
    assert not any(check.failures for check in checks)
    assert checks[-1].name == f"parity and batching: not repeated, because there is no {SCRIPT} to compare {MODEL} with"
    assert f"{GOLDEN}: {MODEL} reproduces the results" in {check.name for check in checks}

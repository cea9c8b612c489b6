"""What the verification of a version catches: a flipped byte, and any change on purpose whose digests hold."""

import re

import numpy as np
import onnx
import pytest
import torch

from rnnserve.export import Floats, publish, script, script_bytes, verify
from rnnserve.export.parity.proof import Proof
from rnnserve.export.verify import verify_version
from rnnserve.models import Architecture, DirectionClassifier
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import (
    GOLDEN,
    MANIFEST,
    MODEL,
    SCAN,
    SCRIPT,
    ArtifactError,
    describe_file,
    dump_manifest,
    read_version,
)
from rnnserve.protos.golden import dump_cases, load_cases
from rnnserve.protos.triton_config import CONFIG

FORGED = {"model": MODEL, "scan": SCAN, "script": SCRIPT, "golden": GOLDEN}


def forge(version, change_manifest=None, **changes):
    """Publish a version changed on purpose: its digests hold, so that only later checks can detect the change."""
    held = read_version(version)
    files = {**held.files, **{FORGED[k]: v for k, v in changes.items()}}
    manifest = manifest_pb2.Manifest()
    manifest.CopyFrom(held.manifest)
    del manifest.files[:]
    manifest.files.extend(describe_file(name, data) for name, data in sorted(files.items()))
    if change_manifest is not None:
        change_manifest(manifest)
    for name, data in {**files, MANIFEST: dump_manifest(manifest)}.items():
        (version / name).write_bytes(data)


def failures(version):
    return {check.name: list(check.failures) for check in verify_version(version, progress=False) if check.failures}


def test_the_proof_is_made_again(exported):
    """What was compared with a checkpoint's classifier alone, and with the script, cannot be compared with itself."""
    repository, done = exported
    checks = verify_version(repository / done.name / "1", progress=False)
    both = [check.parity for check in checks if check.parity is not None]
    for again, published in zip(both, (done.manifest.parity, done.manifest.scan_parity), strict=True):
        kept = [line for line in published.checks if not line.startswith(("torchscript: ", "tutorial: "))]
        assert list(again.checks) == [line for line in kept if "given samples" not in line]
        assert "onnx: labels, wherever float64 is not itself undecided" in again.checks
        assert list(again.lengths) == list(published.lengths)


@pytest.mark.parametrize("name", [MODEL, SCAN, SCRIPT, GOLDEN, MANIFEST])
def test_a_flipped_byte_names_its_file(version, name):
    whole = (version / name).read_bytes()
    step = 97 if len(whole) < 50_000 else 1997
    for position in range(0, len(whole), step):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        (version / name).write_bytes(flipped)
        with pytest.raises(ArtifactError, match=f"^{name}: "):
            read_version(version)


def changed_golden(version, change):
    cases = load_cases(read_version(version).files[GOLDEN])
    change(cases)
    return dump_cases(cases)


@pytest.mark.parametrize("kind", ["step", "sample", "random"])
@pytest.mark.parametrize("name", ["logits", "output", "h_n"])
def test_one_wrong_golden_number_is_told(version, kind, name):
    def change(cases):
        case = next(case for case in cases if case.kind == kind)
        part = case.eager if kind == "step" else case.float64
        part[name].flat[-1] += 2e-5

    forge(version, golden=changed_golden(version, change))
    found = failures_without_proof(version)
    assert found.keys() == {f"{GOLDEN}: {name} gives its results" for name in (MODEL, SCAN, SCRIPT)}
    for sentences in found.values():
        assert any(kind in sentence and f'"{name}"' in sentence for sentence in sentences)


def failures_without_proof(version):
    with pytest.MonkeyPatch.context() as patch:
        unproven = Proof(manifest_pb2.Parity(), manifest_pb2.Batching(mode=manifest_pb2.BATCHING_PADDED), ())
        patch.setattr("rnnserve.export.verify.prove", lambda *_, **__: unproven)
        return failures(version)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cases: cases[0].inputs.pop("h_0"), "has the inputs"),
        (lambda cases: cases[0].inputs.update(lengths=np.array([9], dtype=np.int32)), "inputs do not fit|case 0"),
        (lambda cases: cases[0].inputs.update(h_0=np.zeros((7, 1, 4), np.float32)), "inputs do not fit"),
        (
            lambda cases: cases[4].eager.update(output=cases[4].eager["output"][:, :-1]),
            "holds no|the same tensors|shape",
        ),
    ],
)
def test_golden_cases_of_other_forms_are_told(version, change, message):
    forge(version, golden=changed_golden(version, change))
    found = failures_without_proof(version)[f"{GOLDEN}: {MODEL} gives its results"]
    assert re.search(message, found[0]), found


def test_golden_bytes_that_are_none_are_told(version):
    forge(version, golden=b"nothing")
    assert "holds no golden results" in failures_without_proof(version)[f"{GOLDEN}: {MODEL} gives its results"][0]


@pytest.mark.parametrize("part", ["model", "scan"])
def test_a_graph_that_computes_something_else_is_told(version, part):
    name = FORGED[part]
    graph = onnx.load_model_from_string(read_version(version).files[name])
    head = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith("bias"))
    head.raw_data = (onnx.numpy_helper.to_array(head) + np.float32(1e-3)).tobytes()
    forge(version, **{part: graph.SerializeToString()})
    found = failures(version)
    assert found.keys() == {
        f"{GOLDEN}: {name} gives its results",
        f"parity: {SCRIPT} and {name} compute the same",
    }


def test_a_scan_graph_of_other_tensors_is_told(version):
    graph = onnx.load_model_from_string(read_version(version).files[SCAN])
    graph.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "rows"
    forge(version, scan=graph.SerializeToString())
    (said,) = failures_without_proof(version)[f"{MANIFEST}: of this model"]
    assert f"but those of {SCAN} are" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": b"no graph"}, f"^{MODEL}: "),
        ({"model": b""}, f"^{MODEL}: "),
        ({"scan": b"no graph"}, f"^{SCAN}: "),
        ({"script": b"no script"}, f"^{SCRIPT}: torch cannot load it"),
        (
            {"change_manifest": lambda manifest: manifest.inputs.add(name="extra", datatype="FP32")},
            rf"^{SCRIPT}: its forward takes 3 tensors; expected 4: input, lengths, h_0, extra$",
        ),
    ],
)
def test_files_that_cannot_be_loaded_are_told(version, changes, message):
    forge(version, **changes)
    found = failures(version)
    assert found.keys() == {"files: loaded"}
    assert re.search(message, found["files: loaded"][0]), found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda manifest: manifest.__setattr__("model", "other"), 'is of the model "other"'),
        (lambda manifest: manifest.labels.append("neither"), r"has 3 labels, expected one a class, as in \[2\]"),
        (lambda manifest: manifest.inputs[0].axes[0].__setattr__("name", "rows"), "its inputs are .*'rows'.* those of"),
        (lambda manifest: manifest.outputs[2].__setattr__("continues_as", ""), "h_0"),
        (lambda manifest: manifest.inputs[2].__setattr__("default", 0), "h_0"),
    ],
)
def test_a_manifest_that_is_not_of_this_model_is_told(version, change, message):
    forge(version, change)
    found = failures_without_proof(version)[f"{MANIFEST}: of this model"]
    assert any(re.search(message, sentence) for sentence in found), found


@pytest.mark.parametrize(
    ("kind", "datatype"), [(onnx.TensorProto.FLOAT, "FP32"), (onnx.TensorProto.COMPLEX64, ""), (99, "ONNX type 99")]
)
def test_a_tensor_of_any_type_has_a_form(kind, datatype):
    value = onnx.helper.make_tensor_value_info("x", kind, ["batch", 3])
    assert verify._form(value) == ("x", datatype, ["batch", 3])


def test_limits_for_no_device_are_told(version):
    forge(version, lambda manifest: manifest.ClearField("replay_limits"))
    assert "has no limits" in failures_without_proof(version)[f"{GOLDEN}: {MODEL} gives its results"][0]


@pytest.mark.parametrize("gone", [True, False])
def test_a_config_that_is_missing_or_does_not_fit_is_told(version, gone):
    path = version.parent / CONFIG
    text = path.read_text()
    path.unlink() if gone else path.write_text(text.replace('"h_n"', '"h"'))
    found = failures_without_proof(version)[f"{CONFIG}: of these tensors"]
    assert found[0].startswith(f"{CONFIG}: {'is missing' if gone else 'its outputs do not fit'}")


def test_a_script_of_other_weights_is_caught(version):
    """A relu RNN has the tensors of a tanh one: only values can tell."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        classifier = DirectionClassifier.of(Architecture(hidden=4, nonlinearity="relu"))
    forge(version, script=script_bytes(script(classifier.eval())))
    assert failures(version).keys() == {
        f"{GOLDEN}: {SCRIPT} gives its results",
        f"parity: {SCRIPT} and {MODEL} compute the same",
        f"parity: {SCRIPT} and {SCAN} compute the same",
    }


def test_a_batching_mode_that_is_not_safe_is_told(version):
    forge(version, lambda manifest: manifest.batching.__setattr__("mode", manifest_pb2.BATCHING_ALONE))
    assert failures(version) == {
        f"batching: {MANIFEST} says what is safe": [
            f"{MANIFEST}: says BATCHING_ALONE, found BATCHING_PADDED: []",
        ]
    }


def test_a_version_without_a_script_says_what_is_not_repeated(version):
    held = read_version(version)
    manifest = manifest_pb2.Manifest()
    manifest.CopyFrom(held.manifest)
    del manifest.files[:]
    manifest.files.extend(describe_file(name, held.files[name]) for name in (GOLDEN, MODEL))
    (version / MANIFEST).write_bytes(dump_manifest(manifest))
    checks = verify_version(version, progress=False)
    assert not any(check.failures for check in checks)
    assert checks[-1].name == f"parity and batching: not repeated, since there is no {SCRIPT} to compare {MODEL} with"
    assert f"{GOLDEN}: {MODEL} gives its results" in {check.name for check in checks}


def test_sizes_of_outputs_that_were_only_fitted_are_named(tmp_path):
    """As versions have them that were published before rules were read from the program."""
    module = torch.nn.AvgPool1d(2)
    inputs = {"input": Floats("batch", 3, "sequence")}
    done = publish(
        module, "m", repository=tmp_path, inputs=inputs, outputs=["y"], sizes={"sequence": (2, 40)}, progress=False
    )
    version = done.published.folder
    assert not failures(version)

    def fitted(manifest):
        manifest.outputs[0].derived_axes[0].means = manifest_pb2.MEANS_UNSPECIFIED

    def wrong(manifest):
        manifest.outputs[0].derived_axes[0].add = 1

    forge(version, fitted)
    (said,) = failures(version)[f"{MANIFEST}: sizes of outputs"]
    assert re.search('"sequence/2" of "y" was fitted .* publish the model again', said)
    forge(version, wrong)
    assert re.search(
        r"its shape is \[\d, 3, 1\] for .*; publish", failures(version)[f"{MANIFEST}: sizes of outputs"][1]
    )

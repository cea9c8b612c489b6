"""Verification of a version repeats parity, and detects flipped bytes and changes with valid digests."""

import re

import numpy as np
import pytest

from kit.forged_versions import changed_head, failures, failures_without_parity, forge
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT, ArtifactError, read_version
from rnnserve.protos.golden import dump_cases, load_cases
from rnnserve.protos.triton_config import CONFIG


def test_verification_repeats_parity(exported, verified):
    """But for comparisons with the checkpoint's classifier and the script, which a version cannot repeat."""
    _, done = exported
    both = [check.parity for check in verified if check.parity is not None]
    for again, published in zip(both, (done.manifest.parity, done.manifest.scan_parity), strict=True):
        kept = [line for line in published.checks if not line.startswith("torchscript: ")]
        assert list(again.checks) == [line for line in kept if "given samples" not in line]
        assert list(again.lengths) == list(published.lengths)


@pytest.mark.parametrize("name", [MODEL, SCAN, SCRIPT, GOLDEN, MANIFEST])
def test_flipped_byte_names_its_file(version, name):
    whole = (version / name).read_bytes()
    for position in range(0, len(whole), len(whole) // 40):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        (version / name).write_bytes(flipped)
        with pytest.raises(ArtifactError, match=f"^{name}: "):
            read_version(version)


def forge_golden(version, change):
    cases = load_cases(read_version(version).files[GOLDEN])
    change(cases)
    forge(version, {GOLDEN: dump_cases(cases)})


@pytest.mark.parametrize(("kind", "name"), [("step", "logits"), ("sample", "output"), ("random", "h_n")])
def test_wrong_golden_number_is_reported(version, kind, name):
    def change(cases):
        case = next(case for case in cases if case.kind == kind)
        part = case.eager if kind == "step" else case.float64
        part[name].flat[-1] += 2e-5

    forge_golden(version, change)
    found = failures_without_parity(version)
    assert found.keys() == {f"{GOLDEN}: {file} reproduces the results" for file in (MODEL, SCAN, SCRIPT)}
    for sentences in found.values():
        assert any(kind in sentence and f'"{name}"' in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cases: cases[0].inputs.pop("h_0"), "has the inputs"),
        (lambda cases: cases[0].inputs.update(lengths=np.array([9], dtype=np.int32)), "inputs do not fit|case 0"),
        (lambda cases: cases[0].inputs.update(h_0=np.zeros((7, 1, 4), np.float32)), "inputs do not fit"),
        (lambda cases: cases[4].eager.update(output=cases[4].eager["output"][:, :-1]), "different tensors|shape"),
        (lambda cases: cases.clear(), "does not contain golden results"),
    ],
)
def test_golden_tests_of_other_forms_are_reported(version, change, message):
    forge_golden(version, change)
    found = failures_without_parity(version)[f"{GOLDEN}: {MODEL} reproduces the results"]
    assert re.search(message, found[0]), found


def test_changed_graph_is_reported(version):
    forge(version, {MODEL: changed_head(read_version(version).files[MODEL])})
    assert failures(version).keys() == {
        f"{GOLDEN}: {MODEL} reproduces the results",
        f"parity: {SCRIPT} and {MODEL} compute the same results",
    }


@pytest.mark.parametrize(
    ("files", "change", "message"),
    [
        ({MODEL: b"no graph"}, lambda _: None, f"^{MODEL}: "),
        ({SCAN: b""}, lambda _: None, f"^{SCAN}: "),
        ({SCRIPT: b"no script"}, lambda _: None, f"^{SCRIPT}: torch cannot load it"),
        ({}, lambda m: m.inputs.add(name="extra", datatype="FP32"), "takes 3 tensors; expected 4: .*, h_0, extra$"),
    ],
)
def test_files_that_cannot_be_loaded_are_reported(version, files, change, message):
    forge(version, files, change)
    found = failures(version)
    assert found.keys() == {"files: loaded"}
    assert re.search(message, found["files: loaded"][0]), found


@pytest.mark.parametrize(
    ("change", "check", "message"),
    [
        (lambda m: setattr(m, "model", "other"), "describes this model", 'belongs to the model "other"'),
        (
            lambda m: m.labels.append("neither"),
            "describes this model",
            r"3 labels, expected one for each class, as in \[2\]",
        ),
        (
            lambda m: setattr(m.inputs[0].axes[0], "name", "rows"),
            "describes this model",
            "does not describe model.onnx: .* expected .*rows",
        ),
        (lambda m: setattr(m.outputs[2], "continues_as", ""), "describes this model", "h_0"),
        (lambda m: setattr(m.inputs[2], "default", 0), "describes this model", "h_0"),
    ],
)
def test_manifest_of_another_model_is_reported(version, change, check, message):
    forge(version, {}, change)
    found = failures_without_parity(version)[f"{MANIFEST}: {check}"]
    assert any(re.search(message, sentence) for sentence in found), found


def test_missing_config_and_config_of_other_tensors_are_reported(version):
    path = version.parent / CONFIG
    path.write_text(path.read_text().replace('"h_n"', '"h"'))
    for said in ("the outputs do not match the model", "is missing"):
        found = failures_without_parity(version)[f"{CONFIG}: has the tensors of the graph"]
        assert found[0].startswith(f"{CONFIG}: {said}")
        path.unlink(missing_ok=True)

"""Faults planted in an export: each is named, and nothing else is blamed."""

import pytest

from kit.checked_files import change_head, checked, drop_lengths, exported, forecaster, tagger, wrong_reset
from rnnserve.export.diagnosis import CheckedFile


def freeze_batch(model):
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "batch":
                dim.dim_value = 3


FAULTS = {
    "another formula": (wrong_reset, "linear_before_reset=0", "(GRU)"),
    "ignored lengths": (drop_lengths, "has no sequence_lens", "(GRU)"),
    "a frozen batch": (freeze_batch, 'frozen batch: axis 0 of input "input" is always 3', ""),
    "another bias in the head": (change_head, '"scores"', "(Add)"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_named_and_its_node_is_blamed(fault, tmp_path):
    plant, phrase, blamed = FAULTS[fault]
    model = exported(tagger())
    plant(model)
    faults = checked(tmp_path, model, tagger()).faults
    assert any(phrase in found for found in faults), faults
    walked = [found for found in faults if "the first node whose result differs" in found]
    assert len(walked) == bool(blamed)
    assert blamed in "".join(walked)


def test_right_exports_have_no_faults(tmp_path):
    assert checked(tmp_path, exported(tagger()), tagger()) == CheckedFile([], [])
    assert checked(tmp_path, exported(forecaster()), forecaster()).faults == []


def test_swapped_outputs_are_named_and_no_node_is_blamed(tmp_path):
    model = exported(forecaster())
    first, second = model.graph.output[1:]
    first.name, second.name = second.name, first.name
    for node in model.graph.node:
        for at, name in enumerate(node.output):
            node.output[at] = {"h_n": "c_n", "c_n": "h_n"}.get(name, name)
    faults = checked(tmp_path, model, forecaster()).faults
    assert faults[0] == 'output "h_n" gives what the module gives as "c_n": are two outputs swapped?'
    assert not any("the first node" in fault for fault in faults)

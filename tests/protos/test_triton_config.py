"""config.pbtxt: what is read, what is refused and how, and which versions serve."""

import re

import pytest

from rnnserve.protos import manifest_pb2, model_config_pb2
from rnnserve.protos.triton_config import (
    CONFIG,
    ConfigError,
    MissingConfigError,
    check_tensors,
    read_config,
    versions_to_serve,
)

TEXT = """\
# Written by a person.
name: "simple"
max_batch_size: 0
input { name: "input" data_type: TYPE_FP32 dims: [ -1, -1, 2 ] }
input { name: "lengths" data_type: TYPE_INT64 dims: [ -1 ] optional: true }
output { name: "logits" data_type: TYPE_FP32 dims: [ -1, 3 ] }
version_policy { latest { num_versions: 1 } }
"""


def tensor(name, datatype, *sizes):
    axes = [manifest_pb2.Axis(name=f"axis {number}", size=size) for number, size in enumerate(sizes)]
    return manifest_pb2.Tensor(name=name, datatype=datatype, axes=axes)


INPUTS = [tensor("input", "FP32", -1, -1, 2), tensor("lengths", "INT64", -1)]

OUTPUTS = [tensor("logits", "FP32", -1, 3)]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "simple"
    path.mkdir()
    (path / CONFIG).write_text(TEXT)
    return path


def edit(folder, old, new):
    text = (folder / CONFIG).read_text()
    assert old in text
    (folder / CONFIG).write_text(text.replace(old, new, 1))


def check(folder, inputs=INPUTS, outputs=OUTPUTS):
    check_tensors(read_config(folder), inputs, outputs)


def test_tensors_of_the_config_are_read(folder):
    config = read_config(folder)
    assert config.name == "simple"
    assert [(t.name, t.data_type, list(t.dims), t.optional) for t in config.input] == [
        ("input", model_config_pb2.TYPE_FP32, [-1, -1, 2], False),
        ("lengths", model_config_pb2.TYPE_INT64, [-1], True),
    ]
    assert [t.name for t in config.output] == ["logits"]


def test_omitted_model_name_is_the_name_of_the_folder(folder):
    edit(folder, 'name: "simple"', "")
    assert read_config(folder).name == "simple"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("num_versions: 1", "num_versions: 3"),
        ("# Written", "# Edited"),
        ("max_batch_size: 0", ""),
        ("optional: true", ""),
        ("version_policy", "instance_group { count: 2 }\nversion_policy"),
    ],
)
def test_edits_that_keep_the_tensors_are_allowed(folder, old, new):
    edit(folder, old, new)
    check(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name: "lengths"', 'name: "length"', 'the inputs do not match the model: it has "input" FP32 [-1, -1, 2], "'),
        ("TYPE_INT64", "TYPE_INT32", '"lengths" INT32 [-1]; expected, in this order, "input" FP32 [-1, -1, 2], "lengt'),
        ("TYPE_INT64", "99", '"lengths" type 99 [-1]; expected'),
        ("[ -1, -1, 2 ]", "[ -1, 2 ]", 'it has "input" FP32 [-1, 2], '),
        ("[ -1, -1, 2 ]", "[ -1, -1, 3 ]", 'it has "input" FP32 [-1, -1, 3], '),
        (
            'name: "logits"',
            'name: "scores"',
            'the outputs do not match the model: it has "scores" FP32 [-1, 3]; ',
        ),
        ("max_batch_size: 0", "max_batch_size: 64", "max_batch_size is 64, expected 0, because its dims are"),
    ],
)
def test_tensors_of_another_model_are_refused(folder, old, new, message):
    edit(folder, old, new)
    with pytest.raises(ConfigError, match=re.escape(message)):
        check(folder)


def test_order_and_number_of_tensors_count(folder):
    for wrong in ({"inputs": INPUTS[::-1]}, {"outputs": [*OUTPUTS, tensor("h_n", "FP32", 1, -1, 4)]}, {"outputs": []}):
        with pytest.raises(ConfigError, match=r"the (in|out)puts do not match"):
            check(folder, **wrong)
    (folder / CONFIG).write_text("")
    with pytest.raises(ConfigError, match="the inputs do not match the model: it has none; expected"):
        check(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: 3", "is not a valid Triton ModelConfig: line 1:7"),
        (b"name: 'simple'\nmax_batch_sizes: 0", 'is not a valid Triton ModelConfig: line 2:1 .*"max_batch_sizes"'),
        (b"\xff\xfe", "cannot be read: .*utf-8"),
        (b'name: "other"', 'names the model "other", but is in the folder of "simple"'),
    ],
)
def test_config_of_another_model_is_refused(folder, content, message):
    (folder / CONFIG).write_bytes(content)
    with pytest.raises(ConfigError, match=f"(?s)^{CONFIG}: {message}"):
        read_config(folder)


def test_missing_config_and_a_folder_in_its_place_are_named_without_a_path(folder):
    (folder / CONFIG).unlink()
    with pytest.raises(MissingConfigError, match=f"^{CONFIG}: is missing; `rnnserve export` writes it$"):
        read_config(folder)
    (folder / CONFIG).mkdir()
    with pytest.raises(ConfigError, match=f"^{CONFIG}: cannot be read: Is a directory$"):
        read_config(folder)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", ([10, 2, 1], 1)),
        ("version_policy {}", ([10, 2, 1], 1)),
        ("version_policy { latest {} }", ([10, 2, 1], 1)),
        ("version_policy { latest { num_versions: 1 } }", ([10, 2, 1], 1)),
        ("version_policy { latest { num_versions: 2 } }", ([10, 2, 1], 2)),
        ("version_policy { latest { num_versions: 7 } }", ([10, 2, 1], 7)),
        ("version_policy { all {} }", ([10, 2, 1], 3)),
        ("version_policy { specific { versions: [ 1, 10, 99 ] } }", ([10, 1], 2)),
        ("version_policy { specific { versions: [ 99 ] } }", ([], 0)),
    ],
)
def test_versions_are_chosen_by_the_policy(folder, policy, expected):
    (folder / CONFIG).write_text(policy)
    assert versions_to_serve(read_config(folder), [1, 10, 2]) == expected

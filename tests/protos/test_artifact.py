"""A version's files: no byte of them changes unnoticed."""

import hashlib
import json

import pytest

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import (
    FORMAT,
    FORMAT_OF_DEFAULTS,
    GOLDEN,
    MANIFEST,
    MODEL,
    SCRIPT,
    ArtifactError,
    describe_file,
    dump_manifest,
    read_version,
)

FILES = {MODEL: b"an ONNX model", SCRIPT: b"a TorchScript archive", GOLDEN: b"golden results"}


def a_manifest(**changes) -> manifest_pb2.Manifest:
    manifest = manifest_pb2.Manifest(
        format=FORMAT,
        model="direction_simple",
        labels=["counter-clockwise", "cloçkwise"],
        files=[describe_file(name, data) for name, data in FILES.items()],
        checkpoint_sha256="ab" * 32,
        versions={"torch": "2.13.0", "onnx": "1.23.2"},
    )
    manifest.inputs.add(name="input", datatype="FP32").axes.add(name="batch", size=-1)
    manifest.parity.distances.add(input="walk", tensor="logits", length=64, onnx_from_eager_max=1.25e-6)
    for name, value in changes.items():
        setattr(manifest, name, value)
    return manifest


@pytest.fixture
def folder(tmp_path):
    for name, data in {**FILES, MANIFEST: dump_manifest(a_manifest())}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_written_version_is_read_unchanged(folder):
    version = read_version(folder)
    assert version.files == FILES
    expected = a_manifest()
    expected.self_sha256 = version.manifest.self_sha256
    assert version.manifest == expected


def test_parity_is_summarized_with_and_without_its_record(folder):
    whole, short = read_version(folder), read_version(folder, with_parity=False)
    assert json.loads(whole.parity["parity"])["distances"] == [[64, 1.25e-6, 0.0, 0.0]]
    assert short.parity == whole.parity
    assert not short.manifest.HasField("parity")


def test_manifest_is_readable_and_reproducible():
    data = dump_manifest(a_manifest())
    assert data == dump_manifest(a_manifest())
    assert data.startswith(b'{\n  "checkpoint_sha256": "')
    assert data.endswith(b"}\n")
    assert "cloçkwise".encode() in data
    fields = json.loads(data)
    assert fields["checkpoint_sha256"] == "ab" * 32
    assert fields["inputs"][0]["axes"][0] == {"name": "batch", "size": "-1"}
    assert list(fields) == sorted(fields)


@pytest.mark.parametrize("name", [MODEL, SCRIPT, GOLDEN, MANIFEST])
def test_flipped_byte_is_refused_naming_its_file(folder, name):
    path = folder / name
    whole = path.read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= (1, 0x20, 0x80)[position % 3]  # 0x20 turns a letter of a digest into its upper case
        path.write_bytes(flipped)
        with pytest.raises(ArtifactError, match=f"^{name}: "):
            read_version(folder)
    path.write_bytes(whole)
    read_version(folder)


@pytest.mark.parametrize("name", [MODEL, SCRIPT, GOLDEN, MANIFEST])
def test_truncated_extended_or_missing_file_is_named(folder, name):
    path = folder / name
    whole = path.read_bytes()
    for changed in (b"", whole[:-1], whole + b"\n"):
        path.write_bytes(changed)
        with pytest.raises(ArtifactError, match=f"^{name}: "):
            read_version(folder)
    path.unlink()
    with pytest.raises(ArtifactError, match=f"^{name}: is missing; export the model again"):
        read_version(folder)


def test_unlisted_files_are_ignored(folder):
    (folder / ".DS_Store").write_bytes(b"a file browser was here")
    assert GOLDEN in read_version(folder).files


@pytest.mark.parametrize(("number", "message"), [(FORMAT_OF_DEFAULTS + 1, "4; this .* formats 1 to 3"), (0, "0")])
def test_unknown_format_is_refused(folder, number, message):
    (folder / MANIFEST).write_bytes(dump_manifest(a_manifest(format=number)))
    with pytest.raises(ArtifactError, match=f"^{MANIFEST}: has format {message}"):
        read_version(folder)


@pytest.mark.parametrize("name", [MODEL, GOLDEN, SCRIPT])
def test_manifest_must_list_the_model_and_the_golden_results(folder, name):
    manifest = a_manifest()
    manifest.files.remove(next(file for file in manifest.files if file.name == name))
    (folder / MANIFEST).write_bytes(dump_manifest(manifest))
    if name == SCRIPT:  # some modules cannot be scripted
        assert SCRIPT not in read_version(folder).files
        return
    with pytest.raises(ArtifactError, match=f"^{MANIFEST}: does not list {name}"):
        read_version(folder)


def test_listed_file_outside_the_folder_is_refused(folder):
    manifest = a_manifest()
    manifest.files.append(describe_file("../secret", b""))
    (folder / MANIFEST).write_bytes(dump_manifest(manifest))
    with pytest.raises(ArtifactError, match=f"^{MANIFEST}: lists '../secret'; expected a plain file name"):
        read_version(folder)


def test_folder_in_place_of_a_file_is_named_without_a_path(folder):
    (folder / GOLDEN).unlink()
    (folder / GOLDEN).mkdir()
    with pytest.raises(ArtifactError, match=rf"^{GOLDEN}: cannot be read: Is a directory$"):
        read_version(folder)


@pytest.mark.parametrize(
    "fields",
    [
        '"format": "one"',
        '"format": 2, "parity": 5',
        '"format": 2, "parity": {"distances": 5}',
        '"format": 2, "parity": {"distances": [{"length": 1e999}]}',
        '"format": 2, "scan_parity": {"distances": [{"onnx_from_eager_max": []}]}',
    ],
)
def test_invalid_manifest_with_a_valid_digest_is_refused(folder, fields):
    zeros = b"0" * 64
    unsigned = b"{" + fields.encode() + b', "self_sha256": "' + zeros + b'"}\n'
    digest = hashlib.sha256(unsigned).hexdigest().encode()
    (folder / MANIFEST).write_bytes(unsigned.replace(zeros, digest))
    for with_parity in (True, False):
        with pytest.raises(ArtifactError, match=f"^{MANIFEST}: is not a valid manifest: "):
            read_version(folder, with_parity=with_parity)


def test_unknown_fields_are_ignored(folder):
    fields = json.loads((folder / MANIFEST).read_bytes()) | {"added_later": 1, "self_sha256": "0" * 64}
    unsigned = json.dumps(fields).encode()
    digest = hashlib.sha256(unsigned).hexdigest().encode()
    (folder / MANIFEST).write_bytes(unsigned.replace(b"0" * 64, digest))
    assert read_version(folder).manifest.model == "direction_simple"

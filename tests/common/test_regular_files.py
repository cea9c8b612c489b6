"""Files of a repository must be regular, bounded and inside it, even if a path is replaced while it is read."""

import os

import pytest

from rnnserve.common.regular_files import FileTooLarge, read_regular
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import FORMAT, GOLDEN, MANIFEST, MODEL, ArtifactError, describe_file, dump_manifest
from rnnserve.protos.artifact import read_version as read
from rnnserve.protos.triton_config import CONFIG, ConfigError, read_config

FILES = {MODEL: b"an ONNX model", GOLDEN: b"golden results"}
LEADS_OUT = "is a link to a place outside the repository"


def publish(folder):
    """Write a model with one version and valid digests."""
    version = folder / "1"
    version.mkdir(parents=True)
    for name, data in FILES.items():
        (version / name).write_bytes(data)
    manifest = manifest_pb2.Manifest(
        format=FORMAT, model=folder.name, files=[describe_file(name, data) for name, data in FILES.items()]
    )
    (version / MANIFEST).write_bytes(dump_manifest(manifest))
    (folder / CONFIG).write_text(f'name: "{folder.name}"')
    return folder


def read_all(model, root):
    """Read every file of a model that a server reads."""
    read_config(model, root)
    for keep in (None, ()):  # files that are kept, and those of which the digests are checked only
        read(model / "1", keep, inside=root)


def swap(path, other):
    """Replace a file or a folder with a link."""
    path.rename(path.with_name(f"{path.name}.before"))
    path.symlink_to(other)


@pytest.mark.parametrize("swapped", ["", "1", CONFIG, f"1/{MANIFEST}", f"1/{MODEL}", f"1/{GOLDEN}"])
def test_link_created_after_a_check_is_found_in_the_open_file(tmp_path, swapped):
    model, outside = publish(tmp_path / "repository" / "m"), publish(tmp_path / "outside" / "m")
    root = tmp_path / "repository"
    read_all(model, root)
    swap(model / swapped, outside / swapped)
    with pytest.raises((ArtifactError, ConfigError), match=LEADS_OUT):
        read_all(model, root)
    read_config(model)  # without a folder that it has to lie in, a link leads anywhere
    read(model / "1")


@pytest.mark.parametrize("swapped", ["", "1", f"1/{MODEL}"])
def test_links_within_the_repository_are_followed(tmp_path, swapped):
    root = tmp_path / "repository"
    model, other = publish(root / "m"), publish(tmp_path / "repository" / ".shared" / "m")
    swap(model / swapped, other / swapped)
    read_all(model, root)


def test_special_and_large_files_are_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(FileTooLarge, match="has 5 bytes; the limit is 4"):
        read_regular(tmp_path / "file", 4)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path, 5)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is not a regular file"):
        read_regular(tmp_path / "pipe", 5)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "a\0b", 5)

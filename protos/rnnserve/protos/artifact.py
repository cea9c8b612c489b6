"""A published version: its files, and the manifest that has their digests.

::

    <repository>/<model>/<version>/model.onnx, model.pt, golden.npz, manifest.json

model.pt is left out where a module cannot be scripted, or there is none. Format 1, of the direction classifiers, does
not say which input holds lengths nor which requests may share a run; `read_version` adds what that format implies.

The manifest holds the SHA-256 of every other file and, in `self_sha256`, that of its own bytes with those 64 digits
replaced by zeros: a change of any byte of a version is detected.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import json_format

from rnnserve.protos import manifest_pb2
from rnnserve.protos.regular_files import read_regular

__all__ = [
    "FORMAT",
    "GOLDEN",
    "MANIFEST",
    "MODEL",
    "SCRIPT",
    "ArtifactError",
    "Version",
    "describe_file",
    "dump_manifest",
    "read_version",
]

MODEL, SCRIPT, GOLDEN, MANIFEST = "model.onnx", "model.pt", "golden.npz", "manifest.json"

FORMAT = 2
"""The format of manifests that this code writes."""

_FORMATS = (1, 2)  # that it reads

_ZEROS = "0" * 64
_SELF = re.compile(rb'"self_sha256": "([0-9a-f]{64})"')


class ArtifactError(Exception):
    """A version that cannot be trusted; the message begins with the name of the file that is wrong."""


@dataclasses.dataclass(frozen=True)
class Version:
    """A version whose digests hold.

    Attributes:
        manifest: Its description.
        files: The bytes of every other file, by name: the bytes that were checked are the ones that are used.
    """

    manifest: manifest_pb2.Manifest
    files: Mapping[str, bytes]


def read_version(folder: Path) -> Version:
    """Read `<folder>/manifest.json` and every file that it lists, and check their digests.

    Raises:
        ArtifactError: If a file is missing or has changed since the version was published.
    """
    manifest = _read_manifest(_read(folder, MANIFEST))
    listed = {file.name: file for file in manifest.files}
    for name in (MODEL, GOLDEN):
        if name not in listed:
            raise ArtifactError(f"{MANIFEST}: lists no {name}; export the model again")
    files = {name: _read(folder, name) for name in sorted(listed)}
    for name, data in files.items():
        found, expected = describe_file(name, data), listed[name]
        if found != expected:
            raise ArtifactError(
                f"{name}: is not the file that was published: it has {found.bytes:,} bytes and SHA-256 {found.sha256}, "
                f"{MANIFEST} says {expected.bytes:,} and {expected.sha256}; export the model again"
            )
    return Version(manifest, files)


def describe_file(name: str, data: bytes) -> manifest_pb2.File:
    """Describe a file as manifests do: name, number of bytes and SHA-256."""
    return manifest_pb2.File(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def dump_manifest(manifest: manifest_pb2.Manifest) -> bytes:
    """Write a manifest as JSON, with its own digest; the same manifest gives the same bytes."""
    unsigned = manifest_pb2.Manifest()
    unsigned.CopyFrom(manifest)
    unsigned.self_sha256 = _ZEROS
    fields = json_format.MessageToDict(unsigned, preserving_proto_field_name=True)
    data = json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    digest = hashlib.sha256(data).hexdigest().encode()
    return _SELF.sub(b'"self_sha256": "' + digest + b'"', data)


def _read_manifest(data: bytes) -> manifest_pb2.Manifest:
    found = _SELF.findall(data)
    if len(found) != 1:
        raise ArtifactError(f"{MANIFEST}: does not hold its own digest, self_sha256, once; export the model again")
    zeroed = data.replace(found[0], _ZEROS.encode())
    if hashlib.sha256(zeroed).hexdigest().encode() != found[0]:
        raise ArtifactError(
            f"{MANIFEST}: is not as it was published: its own digest does not hold; export the model again"
        )
    try:
        manifest = json_format.Parse(data, manifest_pb2.Manifest(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{MANIFEST}: is no manifest: {error}") from error
    if manifest.format not in _FORMATS:
        known = " and ".join(map(str, _FORMATS))
        raise ArtifactError(f"{MANIFEST}: has format {manifest.format}; this rnnserve reads formats {known}")
    if manifest.format == 1:
        _add_implied(manifest)
    return manifest


def _add_implied(manifest: manifest_pb2.Manifest) -> None:
    """Add to a manifest of format 1 what later formats say: the role of `lengths`, and that rows may be padded."""
    for tensor in manifest.inputs:
        if tensor.name == "lengths":
            tensor.lengths_of = "sequence"
    for tensor in manifest.outputs:
        tensor.zeros_after_lengths = any(axis.name == "sequence" for axis in tensor.axes)
    has_lengths = any(tensor.lengths_of for tensor in manifest.inputs)
    manifest.batching.mode = manifest_pb2.BATCHING_PADDED if has_lengths else manifest_pb2.BATCHING_JOINED


def _read(folder: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise ArtifactError(f"{MANIFEST}: lists {name!r}, which is no plain file name")
    try:
        return read_regular(folder / name)
    except FileNotFoundError:
        raise ArtifactError(f"{name}: is missing; export the model again") from None
    except OSError as error:
        raise ArtifactError(f"{name}: cannot be read: {error.strerror}") from error

"""A published version: its files, and the manifest with their digests.

::

    <repository>/<model>/<version>/model.onnx, model.scan.onnx, model.parts.onnx, model.pt, golden.npz, defaults.npz,
                                   manifest.json

model.scan.onnx is the same model with loops instead of RNN operators, for the CPU. Only models with RNN operators have
it. model.parts.onnx is whichever of the two serves, with inferred states as additional inputs and outputs. It serves
parts of sequences. model.pt is missing without a module, or if the module can't be scripted. defaults.npz has the
values of omitted inputs unless these are zeros or full lengths. It has values for inputs of the interface only in
format 3. Format 1, of the direction classifiers, doesn't record which input holds lengths or which requests may share a
run. `read_version` adds what format 1 implies.

The manifest holds the SHA-256 of every other file. `self_sha256` is the SHA-256 of the manifest's own bytes, with those
64 digits replaced by zeros. So a change of any byte of a version is detected.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from google.protobuf import json_format

from rnnserve.common.regular_files import LeadsOutError, read_blocks, read_regular
from rnnserve.protos import manifest_pb2
from rnnserve.protos.parity_summary import summarise_parity

__all__ = [
    "DEFAULTS",
    "FORMAT",
    "FORMAT_OF_DEFAULTS",
    "GOLDEN",
    "MANIFEST",
    "MODEL",
    "PARTS",
    "SCAN",
    "SCRIPT",
    "ArtifactError",
    "Version",
    "describe_file",
    "dump_manifest",
    "read_version",
]

MODEL, SCAN, PARTS, SCRIPT = "model.onnx", "model.scan.onnx", "model.parts.onnx", "model.pt"
GOLDEN, DEFAULTS, MANIFEST = "golden.npz", "defaults.npz", "manifest.json"

FORMAT = 2
"""The format of manifests that this code writes."""

FORMAT_OF_DEFAULTS = 3
"""The format for recorded defaults of inputs. Readers of format 2 would use zeros instead."""

_FORMATS = (1, FORMAT, FORMAT_OF_DEFAULTS)  # formats this code reads

_MOST_MANIFEST_BYTES = 4 << 20
"""Bytes of manifest.json. Beyond it: UNAVAILABLE."""

_MOST_BYTES = {MODEL: 2 << 30, SCAN: 2 << 30, PARTS: 2 << 30, GOLDEN: 1 << 30, DEFAULTS: 1 << 28}
"""Bytes of the files of a version. protobuf, and so ONNX without external data, has no messages of more than 2 GiB.
Beyond it: UNAVAILABLE."""

_MOST_OTHER_BYTES = 16 << 30
_MOST_GROWN_BYTES = 64 << 20
"""A file with at most this many bytes more than in the manifest is read, so that the error can name both digests."""

_MOST_FILES = 16
"""Files of a version, in addition to its manifest. Beyond it: UNAVAILABLE."""

_PARITY = ("parity", "scan_parity")
"""Fields of manifest.json that take most of its memory and 2 ms of the 2.3 ms to parse it."""

_ZEROS = "0" * 64
_SELF = re.compile(rb'"self_sha256": "([0-9a-f]{64})"')


class ArtifactError(Exception):
    """A version that can't be trusted. The message begins with the name of the wrong file."""


@dataclasses.dataclass(frozen=True)
class Version:
    """A version with verified digests.

    Attributes:
        manifest: Its description.
        files: The bytes of the other files by name. These are the bytes that were verified.
        digest: The SHA-256 of manifest.json. It covers all files, because manifest.json has their digests.
        parity: Summaries of the parity records, by the manifest's field, even if the records were not read.
    """

    manifest: manifest_pb2.Manifest
    files: Mapping[str, bytes]
    digest: str
    parity: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read_version(
    folder: Path,
    keep: Collection[str] | None = None,
    *,
    with_parity: bool = True,
    inside: Path | None = None,
    signed: Mapping[str, str] | None = None,
) -> Version:
    """Read `<folder>/manifest.json` and every file that it lists, and check their digests.

    Args:
        folder: `<repository>/<model>/<version>`.
        keep: Names of files whose bytes to return. None: all files. Other files are verified in blocks.
        with_parity: Whether to read the manifest's parity records, which are its largest part.
        inside: Folder that must contain every file, after all links. None: anywhere.
        signed: SHA-256 of the signed files by name. All of them are read, and a file that differs is not parsed. None
            if signatures don't matter.

    Raises:
        ArtifactError: If a file is missing, larger than allowed, or has changed since the version was published or
            signed.
    """
    data = _whole(folder, MANIFEST, _MOST_MANIFEST_BYTES, inside)
    _check_signed(describe_file(MANIFEST, data), signed)
    manifest, parity = _read_manifest(data, with_parity=with_parity)
    if len(manifest.files) > _MOST_FILES:
        raise ArtifactError(f"{MANIFEST}: lists {len(manifest.files):,} files; at most {_MOST_FILES} are allowed")
    listed = {file.name: file for file in manifest.files}
    for name in (MODEL, GOLDEN):
        if name not in listed:
            raise ArtifactError(f"{MANIFEST}: does not list {name}; export the model again")
    files = {}
    for name, expected in sorted(listed.items()):
        most = min(expected.bytes + _MOST_GROWN_BYTES, _MOST_BYTES.get(name, _MOST_OTHER_BYTES))
        if keep is None or name in keep:
            files[name] = _whole(folder, name, most, inside)
            found = describe_file(name, files[name])
        else:
            found = _described_in_blocks(folder, name, most, inside)
        _check_signed(found, signed)
        if found != expected:
            raise ArtifactError(
                f"{name}: has changed since publication: it has {found.bytes:,} bytes and SHA-256 {found.sha256}, but "
                f"{MANIFEST} records {expected.bytes:,} and {expected.sha256}; export the model again"
            )
    for name in sorted(set(signed or ()) - {MANIFEST, *listed}):
        _check_signed(_described_in_blocks(folder, name, _MOST_OTHER_BYTES, inside), signed)
    return Version(manifest, files, hashlib.sha256(data).hexdigest(), parity)


def describe_file(name: str, data: bytes) -> manifest_pb2.File:
    """Describe a file as manifests do: name, number of bytes and SHA-256."""
    return manifest_pb2.File(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def dump_manifest(manifest: manifest_pb2.Manifest) -> bytes:
    """Write a manifest as JSON with its own digest. Equal manifests give equal bytes."""
    unsigned = manifest_pb2.Manifest()
    unsigned.CopyFrom(manifest)
    unsigned.self_sha256 = _ZEROS
    fields = json_format.MessageToDict(unsigned, preserving_proto_field_name=True)
    data = json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    digest = hashlib.sha256(data).hexdigest().encode()
    return _SELF.sub(b'"self_sha256": "' + digest + b'"', data)


def _read_manifest(data: bytes, *, with_parity: bool = True) -> tuple[manifest_pb2.Manifest, dict[str, str]]:
    """Read a manifest, and its summaries of parity."""
    found = _SELF.findall(data)
    if len(found) != 1:
        raise ArtifactError(f"{MANIFEST}: must hold its own digest, self_sha256, exactly once; export the model again")
    zeroed = data.replace(found[0], _ZEROS.encode())
    if hashlib.sha256(zeroed).hexdigest().encode() != found[0]:
        raise ArtifactError(
            f"{MANIFEST}: has changed since publication, because its own digest does not match; export the model again"
        )
    try:
        fields = json.loads(data)
        parity = {name: summarise_parity(fields[name]) for name in _PARITY if name in fields}
        if not with_parity:
            data = json.dumps({name: field for name, field in fields.items() if name not in _PARITY}).encode()
        manifest = json_format.Parse(data, manifest_pb2.Manifest(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError, ArithmeticError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{MANIFEST}: is not a valid manifest: {error}") from error
    if manifest.format not in _FORMATS:
        raise ArtifactError(
            f"{MANIFEST}: has format {manifest.format}; this rnnserve reads formats 1 to {_FORMATS[-1]}"
        )
    if manifest.format == 1:
        _add_implied(manifest)
    return manifest, parity


def _check_signed(found: manifest_pb2.File, signed: Mapping[str, str] | None) -> None:
    if signed is not None and signed.get(found.name) != found.sha256:
        what = "has changed since it was signed" if found.name in signed else "is not among the files that were signed"
        raise ArtifactError(f"{found.name}: {what}: it has SHA-256 {found.sha256}")


def _add_implied(manifest: manifest_pb2.Manifest) -> None:
    """Add the fields of later formats to a manifest of format 1: the role of `lengths`, and padding."""
    for tensor in manifest.inputs:
        if tensor.name == "lengths":
            tensor.lengths_of = "sequence"
    for tensor in manifest.outputs:
        tensor.zeros_after_lengths = any(axis.name == "sequence" for axis in tensor.axes)
    has_lengths = any(tensor.lengths_of for tensor in manifest.inputs)
    manifest.batching.mode = manifest_pb2.BATCHING_PADDED if has_lengths else manifest_pb2.BATCHING_JOINED


def _whole(folder: Path, name: str, most: int, inside: Path | None) -> bytes:
    with _said_of(name):
        return read_regular(folder / name, most, inside)


def _described_in_blocks(folder: Path, name: str, most: int, inside: Path | None) -> manifest_pb2.File:
    """Describe a file as `describe_file` does, without holding all of it in memory."""
    digest, size = hashlib.sha256(), 0
    with _said_of(name):
        for block in read_blocks(folder / name, most, inside):
            digest.update(block)
            size += len(block)
    return manifest_pb2.File(name=name, bytes=size, sha256=digest.hexdigest())


@contextlib.contextmanager
def _said_of(name: str) -> Iterator[None]:
    """Turn what reading a file raises into an ArtifactError, which names the file and not its path."""
    if Path(name).name != name or "\0" in name:
        raise ArtifactError(f"{MANIFEST}: lists {name!r}; expected a plain file name")
    try:
        yield
    except FileNotFoundError:
        import_file = ", or import its ONNX file with `rnnserve import`" if name == MANIFEST else ""
        raise ArtifactError(f"{name}: is missing; export the model again{import_file}") from None
    except LeadsOutError as error:
        raise ArtifactError(f"{name}: {error.strerror}") from error
    except OSError as error:
        raise ArtifactError(f"{name}: cannot be read: {error.strerror}") from error

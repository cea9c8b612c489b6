"""Fuzz targets that read files of a repository: config.pbtxt, the manifest, the golden results."""

import contextlib
import hashlib
import io
import json
import random
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from campaigns.fuzzing.byte_mutations import mutate_bytes
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, ArtifactError, describe_file, read_version
from rnnserve.protos.datatypes import DTYPES
from rnnserve.protos.golden import load_cases
from rnnserve.protos.triton_config import CONFIG, ConfigError, check_tensors, read_config, versions_to_serve
from rnnserve.server.validation.signature_reading import read_signature

_WORDS = re.compile(rb"\w+|\s+|.", re.DOTALL)

_TELLING = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"#", b"\0", b"-1", b"0", b"99999999999999999999", b"1e999", b"null",
    b"true", b"name", b"dims", b"\xff", b"\\u0000", b"\\ud800", b"NaN", b"'", b"<", b">", b"name: 'a\\nb'",
    b"\xef\xbb\xbf",
)  # fmt: skip


def _mutate_words(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change words of a text: drop, repeat, exchange, nest."""
    words = _WORDS.findall(data) or [b""]
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(words))
        match chance.randrange(5):
            case 0:
                words[at] = b""
            case 1:
                words[at] = chance.choice(_TELLING)
            case 2:
                words.insert(at, chance.choice(_TELLING) * chance.choice((1, 1, 2, 200)))
            case 3:
                words[at : at + 8] = words[at : at + 8] * chance.choice((2, 2, 100))
            case _:
                words[at] = chance.choice(_WORDS.findall(chance.choice(others)) if others else words)
    return b"".join(words)


class ConfigTarget:
    """`read_config` returns a ModelConfig or raises a ConfigError without a path."""

    name = "config"

    def __init__(self, folder: Path) -> None:
        """Write each input to a file in this folder."""
        self._folder = folder / "named"
        self._folder.mkdir()

    def seeds(self) -> list[bytes]:
        return [
            b'name: "named" platform: "onnxruntime_onnx" max_batch_size: 0\ninput { name: "input" data_type: TYPE_FP32 '
            b'dims: [ -1, -1, 2 ] }\noutput [ { name: "output" data_type: TYPE_FP32 dims: -1 } ]\n'
            b"version_policy { specific { versions: [ 1, 3 ] } }\n",
            b"# a comment\nversion_policy: < latest: < num_versions: 2 > >\n"
            b'parameters { key: "a" value { string_value: "b" } }',
            b"version_policy { all {} }",
        ]

    def mutate(self, data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
        return (_mutate_words if chance.random() < 0.7 else mutate_bytes)(data, others, chance)

    def read(self, data: bytes) -> None:
        (self._folder / CONFIG).write_bytes(data)
        try:
            config = read_config(self._folder)
            versions, count = versions_to_serve(config, [1, 2, 3])
            assert set(versions) <= {1, 2, 3}
            assert count >= 0
            check_tensors(config, [], [])
        except ConfigError as error:
            _tells_no_path(error, self._folder)


class ManifestTarget:
    """`read_version` and `read_signature` return a version and its signature, or raise an ArtifactError without a path.

    Each input gets a valid digest, so that its contents are read. It lists the given model and golden results.
    """

    name = "manifest"

    def __init__(self, folder: Path, seeds: Sequence[bytes]) -> None:
        """Write each input to a file in this folder.

        Args:
            folder: An empty folder.
            seeds: Manifests, as published.
        """
        self._folder = folder
        self._seeds = [_listing_files(seed) for seed in seeds]
        for name in (MODEL, GOLDEN):
            (folder / name).write_bytes(b"")

    def seeds(self) -> list[bytes]:
        return list(self._seeds)

    def mutate(self, data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
        return (_mutate_words if chance.random() < 0.8 else mutate_bytes)(data, others, chance)

    def read(self, data: bytes) -> None:
        (self._folder / MANIFEST).write_bytes(_signed(data))
        try:
            manifest = read_version(self._folder).manifest
            inputs, outputs = ([_Node(tensor) for tensor in part] for part in (manifest.inputs, manifest.outputs))
            signature = read_signature(inputs, outputs, manifest)
            assert signature.main.name in signature.inputs
        except ArtifactError as error:
            _tells_no_path(error, self._folder)


def _tells_no_path(error: ArtifactError, folder: Path) -> None:
    assert str(folder) not in str(error)


class _Node:
    """A graph tensor that matches the manifest."""

    name: str
    type: str
    shape: Sequence[int | str | None]

    def __init__(self, tensor: manifest_pb2.Tensor) -> None:
        types = {"FP32": "float", "FP64": "double", "FP16": "float16"}
        self.name = tensor.name
        self.type = f"tensor({types.get(tensor.datatype, tensor.datatype.lower())})"
        self.shape = [axis.name if axis.size < 0 else axis.size for axis in tensor.axes]


def _listing_files(manifest: bytes) -> bytes:
    """Return the manifest with descriptions of empty files instead of its own files."""
    fields = json.loads(manifest)
    empty = [describe_file(name, b"") for name in (MODEL, GOLDEN)]
    fields["files"] = [{"name": file.name, "bytes": "0", "sha256": file.sha256} for file in empty]
    return json.dumps(fields, indent=1).encode()


def _signed(data: bytes) -> bytes:
    """Return the manifest with its own digest, if it has a place for one."""
    zeros = b"0" * 64
    found = re.findall(rb'"self_sha256": "([0-9a-f]{64})"', data)
    if len(found) != 1:
        return data
    data = data.replace(found[0], zeros)
    return data.replace(zeros, hashlib.sha256(data).hexdigest().encode())


_HEADERS = (
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
    b"{'descr': '<f4', 'fortran_order': True, 'shape': (), }",
    b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"{'descr': '<f4', 'shape': (99999999999,)}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (2305843009213693952, 8), }", b"{'descr': [('a', '<f4')], ",
    b"{'descr': '<U9999999', 'fortran_order': False, 'shape': (9999, 9), }", b"(" * 300,
    b"{'descr': '<f4', 'shape': -1}",
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }", b"\xff\xfe", b"{'descr': 'V0', 'shape': (1,)}",
)  # fmt: skip

_NAMES = (
    "000/step/inputs/input.npy",
    "000/step/eager/h_n.npy",
    "a",
    "../../x.npy",
    "0/1/2/3/4.npy",
    "000/walk/x/y.npy",
)

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


class GoldenTarget:
    """`load_cases` returns cases or raises an ArtifactError."""

    name = "golden"

    def seeds(self) -> list[bytes]:
        array = np.ones((2, 3), np.float32)
        names = [f"000/step/{part}/{name}" for part, name in (("inputs", "x"), ("eager", "y"), ("float64", "y"))]
        found: list[bytes] = []
        arrays: dict[str, Any] = dict.fromkeys(names, array)
        for save in (np.savez, np.savez_compressed):
            buffer = io.BytesIO()
            save(buffer, **arrays)
            found.append(buffer.getvalue())
        return [*found, b"", b"PK\x05\x06" + bytes(18)]

    def mutate(self, data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
        """Change bytes of the archive, or its contents: names, methods, array headers."""
        if chance.random() < 0.3:
            return mutate_bytes(data, others, chance)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as written:
            for name, content in _entries(data):
                changed = _mutate_array(content, chance) if chance.random() < 0.4 else content
                renamed = chance.choice(_NAMES) if chance.random() < 0.1 else name
                if chance.random() < 0.9:
                    written.writestr(zipfile.ZipInfo(renamed), changed, chance.choice(_METHODS))
        archive = buffer.getvalue()
        return mutate_bytes(archive, others, chance) if chance.random() < 0.2 else archive

    def read(self, data: bytes) -> None:
        with contextlib.suppress(ArtifactError):
            for case in load_cases(data):
                for array in (*case.inputs.values(), *case.eager.values(), *case.float64.values()):
                    assert array.dtype in DTYPES.values() or not array.dtype.hasobject


def _entries(data: bytes) -> list[tuple[str, bytes]]:
    """Read an archive's entries as far as possible, at most 1 MB."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(info.filename, archive.open(info).read(1 << 20)) for info in archive.infolist()[:20]]
    except Exception:  # noqa: BLE001 - what is damaged beyond that is not changed further
        return [("000/step/inputs/x.npy", b"\x93NUMPY\x01\x00")]


def _mutate_array(content: bytes, chance: random.Random) -> bytes:
    """Change an array's header or its bytes."""
    if chance.random() < 0.5:
        return mutate_bytes(content, (), chance)
    header = chance.choice(_HEADERS)
    version = chance.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    size = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + header + content[-24:]

"""Versions changed on purpose, with digests that hold, so that only later checks of `verify` can detect the change."""

import onnx
import pytest

from rnnserve.export.parity.verification import Verification
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, describe_file, dump_manifest, read_version


def forge(version, files, change_manifest=lambda _: None):
    """Write files and a manifest into a version. A file whose content is None is left out."""
    held = read_version(version)
    files = {name: data for name, data in {**held.files, **files}.items() if data is not None}
    manifest = manifest_pb2.Manifest()
    manifest.CopyFrom(held.manifest)
    del manifest.files[:]
    manifest.files.extend(describe_file(name, data) for name, data in sorted(files.items()))
    change_manifest(manifest)
    for name, data in {**files, MANIFEST: dump_manifest(manifest)}.items():
        (version / name).write_bytes(data)


def failures(version):
    """The failures of `verify`, by check."""
    return {check.name: list(check.failures) for check in verify_version(version, progress=False) if check.failures}


def failures_without_parity(version):
    """The failures of all checks except parity, which takes longest."""
    unproven = Verification(manifest_pb2.Parity(), manifest_pb2.Batching(mode=manifest_pb2.BATCHING_PADDED), ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnserve.export.verify.verify_parity", lambda *_, **__: unproven)
        return failures(version)


def changed_head(data):
    """A graph whose head has another bias."""
    graph = onnx.load_model_from_string(data)
    head = next(tensor for tensor in graph.graph.initializer if tensor.name.endswith("bias"))
    head.raw_data = (onnx.numpy_helper.to_array(head) + onnx.numpy_helper.to_array(head).dtype.type(1e-3)).tobytes()
    return graph.SerializeToString()

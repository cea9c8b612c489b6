"""The models of `make growth`: `python -m benchmarks.growth.make_models FOLDER`, a separate process that loads torch.

::

    <FOLDER>/hidden/rnn_<size>/    a model of each hidden size
            /copies/copy_<number>/ the smallest model under other names
            /sources.sha256        digest of the sources; the folder is made again if it differs
"""

import sys
from pathlib import Path

from benchmarks.growth.sizes import HIDDEN_SIZES, MODEL_COUNTS, copy_name, model_of
from benchmarks.make_models import make_anew, make_classifier, publish_classifier
from rnnserve.export.publishing import publish_version, render_config
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, Version, dump_manifest, read_version


def make_models(folder: Path) -> None:
    """Write the folder unless it exists with the digest of the same sources."""
    with make_anew(folder, Path(__file__), repr((HIDDEN_SIZES, MODEL_COUNTS))) as is_missing:
        if is_missing:
            for hidden in HIDDEN_SIZES:
                publish_classifier(model_of(hidden), make_classifier("rnn", hidden), folder / "hidden")
            version = read_version(folder / "hidden" / model_of(HIDDEN_SIZES[0]) / "1")
            for number in range(max(MODEL_COUNTS)):
                publish_copy(version, folder / "copies" / copy_name(number))


def publish_copy(version: Version, model: Path) -> None:
    """Publish a version again under the name of its folder."""
    manifest = manifest_pb2.Manifest()
    manifest.CopyFrom(version.manifest)
    manifest.model = model.name
    config = render_config(model.name, list(manifest.inputs), list(manifest.outputs))
    publish_version(model, {**version.files, MANIFEST: dump_manifest(manifest)}, config)


if __name__ == "__main__":
    make_models(Path(sys.argv[1]))

"""All fuzz targets, ready to read."""

from pathlib import Path

from campaigns.fuzzing.campaign import FuzzTarget
from campaigns.fuzzing.file_targets import ConfigTarget, GoldenTarget, ManifestTarget
from campaigns.fuzzing.request_targets import BoundaryTarget, FieldCountTarget, PrefixTarget, load_service
from kit.examples import publish_examples
from rnnserve.protos.artifact import MANIFEST

NAMES = ("validation", "field_counts", "prefixes", "config", "manifest", "golden")


def prepare_targets(folder: Path) -> dict[str, FuzzTarget]:
    """Create all targets, by name, in less than a second.

    Args:
        folder: An empty folder for their files.
    """
    repository, scratch = folder / "repository", folder / "scratch"
    repository.mkdir()
    scratch.mkdir()
    publish_examples(repository)
    service = load_service(repository)
    manifests = [path.read_bytes() for path in sorted(repository.glob(f"*/1/{MANIFEST}"))]
    targets: list[FuzzTarget] = [
        BoundaryTarget(service),
        FieldCountTarget(),
        PrefixTarget(service),
        ConfigTarget(folder),
        ManifestTarget(scratch, manifests),
        GoldenTarget(),
    ]
    return {target.name: target for target in targets}

"""The bill of materials (CycloneDX) of a server: the versions of a repository, their files, and the packages.

The packages are the installed packages that `rnnserve serve` needs, directly or indirectly. The package
cyclonedx-python-lib writes the document, and is imported only for it.
"""

import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rnnserve.cli.inspection.version_record import VersionRecord
from rnnserve.common.extras import missing_package
from rnnserve.protos.artifact import ArtifactError

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

__all__ = ["sbom"]

_EXTRAS = ("server", "web")
_REQUIREMENT = re.compile(r"([\w.-]+)[^;]*(?:;(.*))?")


def sbom(records: Sequence[VersionRecord]) -> str:
    """Write the bill of materials, JSON of CycloneDX 1.6.

    Args:
        records: Records of the versions.

    Raises:
        ArtifactError: If the package that writes it is missing, or a version cannot be used.
    """
    try:
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output.json import JsonV1Dot6
        from packageurl import PackageURL
    except ModuleNotFoundError as missing:
        raise ArtifactError(f"--sbom {missing_package(missing.name, 'sbom')}") from missing
    for record in records:
        if record.problem:
            raise ArtifactError(f"{record.model} version {record.number}: {record.problem}")
    bom = Bom()
    root = Component(
        name="rnnserve",
        type=ComponentType.APPLICATION,
        version=importlib.metadata.version("rnnserve"),
        bom_ref="rnnserve",
    )
    bom.metadata.component = root
    packages = {
        name: Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"pkg:pypi/{name}@{version}",
            purl=PackageURL("pypi", None, name, version),
        )
        for name, version in sorted(_packages().items())
    }
    models = [_model(record) for record in records]
    for component in (*models, *packages.values()):
        bom.components.add(component)
    bom.register_dependency(root, [*models, *packages.values()])
    return str(JsonV1Dot6(bom).output_as_string(indent=2))


def _model(record: VersionRecord) -> "Component":
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    assert record.manifest is not None  # noqa: S101 - nothing is wrong with it
    name = f"{record.model}@{record.number}"
    files = [
        Component(
            name=file.name,
            type=ComponentType.FILE,
            bom_ref=f"{name}/{file.name}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)],
        )
        for file in record.manifest.files
    ]
    said = dict(_properties(record))
    return Component(
        name=record.model,
        version=str(record.number),
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=name,
        components=files,
        properties=[Property(name=f"rnnserve:{key}", value=value) for key, value in said.items()],
    )


def _properties(record: VersionRecord) -> Iterator[tuple[str, str]]:
    yield "origin", "adopted" if record.is_imported else "exported"
    yield "served", str(record.is_chosen).lower()
    if record.manifest is not None:
        yield "manifest_self_sha256", record.manifest.self_sha256
        yield from ((f"made_with:{library}", version) for library, version in sorted(record.manifest.versions.items()))
    if record.signature.signed is not None:
        fields = record.signature.as_fields() or {}
        yield from ((f"signature:{name}", str(fields[name])) for name in ("key_id", "sequence", "created", "holds"))


def _packages() -> dict[str, str]:
    """The installed packages that a server needs, with their versions."""
    found: dict[str, str] = {}
    waiting = list(_needed("rnnserve", _EXTRAS))
    while waiting:
        name = waiting.pop()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # needed only on another system or Python
            continue
        if name not in found:
            found[name] = version
            waiting += _needed(name, ())
    return found


def _needed(name: str, extras: Sequence[str]) -> Iterator[str]:
    """Yield the names of the packages that a package and its extras need."""
    for text in importlib.metadata.requires(name) or ():
        found = _REQUIREMENT.match(text)
        if found is None:
            continue
        marker = found[2] or ""
        of_extra = re.search(r"""extra\s*==\s*["']([\w-]+)""", marker)
        if of_extra is None or of_extra[1] in extras:
            yield re.sub(r"[-_.]+", "-", found[1]).lower()

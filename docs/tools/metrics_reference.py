"""The page of the metrics: each family that a server can expose, as the code declares it."""

import re
from collections.abc import Iterator

from reference_text import cell, table
from rnnserve.server.counting import families
from rnnserve.server.counting.family import LABELS, Family

_SECTIONS = (
    ("Of each version", "model, version", families.OF_VERSIONS),
    ("Of what serves", "", (families.MODEL_INFO, families.BUILD_INFO)),
    ("Of the server's processes", "", (*families.OF_PROCESS, families.CERTIFICATE_END, families.RESTARTS)),
    ("Of each token", "token", families.OF_TOKENS),
    ("Of the HTTP front", "", families.OF_FRONTS),
    ("Triton's names", "model, version", families.TRITON),
)
"""A heading, the labels that all of its samples have, and the families."""

_FEW = 8
"""Values of a label that are listed; of more, only its name is."""


def metrics() -> Iterator[str]:
    """The page, line by line."""
    told = [family.name for _, _, of_section in _SECTIONS for family in of_section]
    if sorted(told) != sorted(family.name for family in families.ALL):
        raise SystemExit("docs/tools/metrics_reference.py: a family of metrics is in no section, or in two")
    yield "# Metrics\n"
    yield (
        "Every family that a server can expose, as its own `# HELP` says it; [metrics.md](../metrics.md) says where "
        "they are scraped, and what to do with them. Durations are in seconds, sizes in bytes. The labels `model` and "
        '`version` are those of versions that have served; requests for any other name count as `model="other"`.\n'
    )
    for heading, labels, of_section in _SECTIONS:
        yield f"## {heading}\n"
        if labels:
            yield f"Each has {' and '.join(f'`{one}`' for one in labels.split(', '))} as a label.\n"
        rows = [(f"`{one.name}`", one.kind, _labels(one) or "-", cell(one.about)) for one in of_section]
        yield from table(("name", "kind", "further labels" if labels else "labels", "what"), rows)
    yield "## Buckets\n"
    yield from table(("histogram", "upper bounds"), [*_buckets()])


def _labels(family: Family) -> str:
    """The labels of a family's samples, with their values where these are few."""
    values: dict[str, list[str]] = {name: [] for name in family.labels}
    for sample in family.samples:
        for name, value in re.findall(r'(\w+)="([^"]*)"', sample.replace(LABELS, "")):
            if name != "le" and value not in values.setdefault(name, []):
                values[name].append(value)
    return "; ".join(
        f"`{name}`" + (f": {', '.join(f'`{value}`' for value in found)}" if 0 < len(found) <= _FEW else "")
        for name, found in values.items()
    )


def _buckets() -> Iterator[tuple[str, str]]:
    by_bounds: dict[str, list[str]] = {}
    for family in families.ALL:
        if family.kind == "histogram":
            bounds = re.findall(r'le="([^"]*)"', "".join(family.samples))
            by_bounds.setdefault(", ".join(bounds), []).append(f"`{family.name}`")
    for of_all, names in by_bounds.items():
        yield ", ".join(names), of_all

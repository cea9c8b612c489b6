"""The page of the metrics: each family that a server can expose, as the code declares it."""

from collections.abc import Iterator

from reference_text import cell, table
from rnnserve.server.counting import places
from rnnserve.server.counting.exposition import ALL, SECTIONS, Family

_FEW = 8
"""Values of a label that are listed; of more, only its name is."""

_ROW = [0.0] * places.PLACES


def metrics() -> Iterator[str]:
    """The page, line by line."""
    yield "# Metrics\n"
    yield (
        "Every family that a server can expose, as its own `# HELP` says it; [metrics.md](../metrics.md) says where "
        "they are scraped, and what to do with them. Durations are in seconds, sizes in bytes. The labels `model` and "
        '`version` are those of versions that have served; requests for any other name count as `model="other"`.\n'
    )
    for heading, labels, of_section in SECTIONS:
        yield f"## {heading}\n"
        if labels:
            yield f"Each has {' and '.join(f'`{one}`' for one in labels)} as a label.\n"
        rows = [(f"`{one.name}`", one.kind, _labels(one) or "-", cell(one.about)) for one in of_section]
        yield from table(("name", "kind", "further labels" if labels else "labels", "what"), rows)
    yield "## Buckets\n"
    yield from table(("histogram", "upper bounds"), [*_buckets()])


def _labels(family: Family) -> str:
    """The labels of a family's samples, with their values where these are few."""
    values: dict[str, list[str]] = {name: [] for name in family.labels}
    for _, labels, _ in family.samples(_ROW):
        for name, value in labels.items():
            if name != "le" and value not in values.setdefault(name, []):
                values[name].append(value)
    return "; ".join(
        f"`{name}`" + (f": {', '.join(f'`{value}`' for value in found)}" if 0 < len(found) <= _FEW else "")
        for name, found in values.items()
    )


def _buckets() -> Iterator[tuple[str, str]]:
    by_bounds: dict[str, list[str]] = {}
    for family in ALL:
        if family.kind == "histogram":
            bounds = [labels["le"] for _, labels, _ in family.samples(_ROW) if "le" in labels]
            by_bounds.setdefault(", ".join(bounds), []).append(f"`{family.name}`")
    for of_all, names in by_bounds.items():
        yield ", ".join(names), of_all

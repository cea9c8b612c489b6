"""The parts of the reference about metrics, as the code declares their families."""

from collections.abc import Iterator

from reference_text import cell, table
from rnnserve.server.counting import places
from rnnserve.server.counting.exposition import ALL, SECTIONS, Family

_FEW = 8
"""Values of a label that are listed; of more, only its name is."""

_ROW = [0.0] * places.PLACES


def metrics() -> Iterator[str]:
    """Yield a table of the metric families for each section."""
    for heading, labels, of_section in SECTIONS:
        yield f"### {heading}\n"
        if labels:
            yield f"Each has the label{'s' * (len(labels) > 1)} {' and '.join(f'`{one}`' for one in labels)}.\n"
        rows = [(f"`{one.name}`", one.kind, _labels(one) or "-", cell(one.about)) for one in of_section]
        yield from table(("name", "type", "further labels" if labels else "labels", "meaning"), rows)


def buckets() -> Iterator[str]:
    """Yield a table of the upper bounds of histograms."""
    by_bounds: dict[str, list[str]] = {}
    for family in ALL:
        if family.kind == "histogram":
            bounds = [labels["le"] for _, labels, _ in family.samples(_ROW) if "le" in labels]
            by_bounds.setdefault(", ".join(bounds), []).append(f"`{family.name}`")
    yield from table(("histogram", "upper bounds"), [(", ".join(names), of) for of, names in by_bounds.items()])


def _labels(family: Family) -> str:
    """Return the labels of a family's samples, with their values if there are few."""
    values: dict[str, list[str]] = {name: [] for name in family.labels}
    for _, labels, _ in family.samples(_ROW):
        for name, value in labels.items():
            if name != "le" and value not in values.setdefault(name, []):
                values[name].append(value)
    return "; ".join(
        f"`{name}`" + (f": {', '.join(f'`{value}`' for value in found)}" if 0 < len(found) <= _FEW else "")
        for name, found in values.items()
    )

"""From the lines that a program printed to one outcome for each feature."""

import dataclasses
import enum
import json
from collections.abc import Iterable, Mapping, Sequence

from campaigns.conformance.features import FEATURES, Feature

__all__ = ["Kind", "Outcome", "judge"]


class Kind(enum.Enum):
    """What came of a feature, as the table says it."""

    WORKS = "works"
    REFUSED = "refused"
    NOT_OFFERED = "not offered"
    SKIPPED = "skipped"
    FAILED = "FAILED"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one feature with one client.

    Attributes:
        kind: What the table says.
        words: Of REFUSED what the server said, of FAILED what went wrong, of the others why; empty for WORKS.
    """

    kind: Kind
    words: str = ""


def judge(
    printed: Iterable[str], lacks: Mapping[str, str], end: str = "", features: Sequence[Feature] = FEATURES
) -> dict[str, Outcome]:
    """Judge what a program printed, feature by feature.

    A feature that was refused and has to work has FAILED; so has one that worked and has to be refused, since the table
    would then say what is not true any more; and one of which the program said nothing.

    Args:
        printed: The lines of its output.
        lacks: What the client does not offer: reasons by the features' names.
        end: Why the program ended too early; empty where it did not.
        features: The features that it tries.

    Returns:
        Outcomes by the names of the features, in the table's order.

    Raises:
        ValueError: If a line is not one of `programs/__init__.py`, or names no feature or one twice.
    """
    known = {feature.name for feature in features}
    lines: dict[str, dict[str, str]] = {}
    for line in printed:
        said = json.loads(line)
        if said["feature"] not in known or said["feature"] in lines:
            raise ValueError(f"{said['feature']}: no feature, or one that was told before")
        lines[said["feature"]] = said
    for name in lacks:
        if name not in known:
            raise ValueError(f"{name}: no feature")
    return {feature.name: _judge_one(feature, lines.get(feature.name), lacks, end) for feature in features}


def _judge_one(feature: Feature, said: Mapping[str, str] | None, lacks: Mapping[str, str], end: str) -> Outcome:
    if said is None:
        if feature.name in lacks:
            return Outcome(Kind.NOT_OFFERED, lacks[feature.name])
        return Outcome(Kind.FAILED, end or "its program did not try it")
    if feature.name in lacks:
        return Outcome(Kind.FAILED, f"it was tried, although it is said not to be offered: {lacks[feature.name]}")
    words = said.get("words", "")
    match said["outcome"]:
        case "works" if feature.refused:
            return Outcome(Kind.FAILED, f"it works, and was to be refused: {feature.refused}")
        case "works":
            return Outcome(Kind.WORKS)
        case "refused" if feature.refused and said["status"] in ("", feature.refused):
            return Outcome(Kind.REFUSED, words)
        case "refused":
            return Outcome(Kind.FAILED, f"{said['status']}: {words}")
        case "failed":
            return Outcome(Kind.FAILED, words)
    raise ValueError(f"{feature.name}: outcome {said['outcome']!r}")

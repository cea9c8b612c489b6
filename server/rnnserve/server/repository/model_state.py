"""A short summary of a model's versions, to compare two servers without importing onnxruntime."""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["ModelState", "lost_models"]


class ModelState(NamedTuple):
    """A short summary of a model's versions."""

    serves: list[int]
    fails: list[int]  # versions that should serve but have bad files
    is_loading: bool  # whether another is still being loaded


def lost_models(before: Mapping[str, ModelState], after: Mapping[str, ModelState]) -> list[str]:
    """Name what one server serves and a later one can't, though its folder is there and chosen: "scale: version 2"."""
    lost = []
    for name, model in before.items():
        now = after.get(name)
        if not model.serves or now is None:
            continue
        failing = [version for version in model.serves if version in now.fails]
        if failing or not (now.serves or now.is_loading):
            lost.append(f"{name}: version {', '.join(map(str, failing or model.serves))}")
    return lost

"""Pins: which versions a worker serves, so that its replacement serves the same, whatever the folder then holds.

A replacement that cannot have them serves what the folder gives now; `differing` says of which models that is so.
"""

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

__all__ = [
    "Found",
    "ModelPins",
    "Pin",
    "Pins",
    "differing",
    "digests",
    "dump_pins",
    "read_pins",
    "replace_pins",
    "serving",
]


@dataclasses.dataclass(frozen=True)
class Pin:
    """What a worker did with a version.

    Attributes:
        digest: The manifest's own, `self_sha256`, which covers the digest of every file; empty if it does not serve.
        reason: Why it does not serve; empty if it does, or was still being loaded.
    """

    digest: str
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class ModelPins:
    """What a worker did with a model.

    Attributes:
        versions: By number.
        reason: Why none could be tried; empty otherwise.
        is_needed: Whether the model counts where it is asked whether the server is ready.
    """

    versions: Mapping[int, Pin]
    reason: str = ""
    is_needed: bool = True


Pins = Mapping[str, ModelPins]
"""By the model's name."""

Found = Sequence[tuple[str, int, Mapping[str, Any]]]
"""What was found of versions, as JSON has it: model, version, and the fields of its `Findings`."""


def digests(model: ModelPins) -> Mapping[int, str]:
    """The digests of the versions that serve, by number."""
    return {number: pin.digest for number, pin in model.versions.items() if pin.digest}


def serving(pins: Pins, name: str) -> Mapping[int, str]:
    """The same of a model by its name; nothing where it is not among the pins."""
    return digests(pins[name]) if name in pins else {}


def differing(wanted: Pins, found: Pins) -> list[str]:
    """Name the models of which a worker does not serve what it was to serve.

    What was still being loaded when the pins were written tells nothing: each worker ends that by itself.

    Args:
        wanted: The models that it was to serve.
        found: The versions that it serves.
    """
    names = []
    for name, model in wanted.items():
        is_loading = any(not pin.digest and not pin.reason for pin in model.versions.values())
        mine, others = serving(found, name), digests(model)
        if (bool(others) and not mine) if is_loading else mine != others:
            names.append(name)
    return names


def replace_pins(pins: Pins, names: Collection[str], by: Pins) -> Pins:
    """Give pins in which some models are as in others; those that the others do not have are left out."""
    kept = {name: model for name, model in pins.items() if name not in names}
    return dict(sorted({**kept, **{name: by[name] for name in names if name in by}}.items()))


def dump_pins(pins: Pins) -> str:
    """Write pins as one line of JSON; the same pins give the same text."""
    return json.dumps({name: dataclasses.asdict(model) for name, model in pins.items()}, sort_keys=True)


def read_pins(text: str) -> Pins:
    """Read what `dump_pins` has written, also that of a supervisor which runs an earlier release, with more fields.

    Raises:
        ValueError: If the text is something else.
    """
    match json.loads(text):
        case dict(models):
            return {name: _read_model(name, fields) for name, fields in models.items()}
    raise ValueError("pins are an object of models")


def _read_model(name: str, fields: object) -> ModelPins:
    match fields:
        case {"versions": dict(versions), "reason": str(reason), "is_needed": bool(is_needed)}:
            pins = {int(number): _read_pin(name, number, pin) for number, pin in versions.items()}
            return ModelPins(pins, reason, is_needed)
    raise ValueError(f'the pins of {name} are no object with "versions", "reason" and "is_needed"')


def _read_pin(name: str, number: str, fields: object) -> Pin:
    match fields:
        case {"digest": str(digest), "reason": str(reason)}:
            return Pin(digest, reason)
    raise ValueError(f'the pin of {name} {number} is no object with "digest" and "reason"')

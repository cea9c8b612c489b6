"""Pins: which versions a worker serves, so that its replacement serves the same, whatever the folder then holds."""

import dataclasses
import json
from collections.abc import Mapping

__all__ = ["ModelPins", "Pin", "Pins", "dump_pins", "read_pins"]


@dataclasses.dataclass(frozen=True)
class Pin:
    """What a worker did with a version.

    Attributes:
        digest: The manifest's own, `self_sha256`, which covers the digest of every file; empty if it does not serve.
        reason: Why it does not serve; empty if it does, or was still being loaded.
        graph: On which graph it serves, "native" or "scan"; empty if it does not serve.
    """

    digest: str
    reason: str = ""
    graph: str = ""


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


def dump_pins(pins: Pins) -> str:
    """Write pins as one line of JSON; the same pins give the same text."""
    return json.dumps({name: dataclasses.asdict(model) for name, model in pins.items()}, sort_keys=True)


def read_pins(text: str) -> Pins:
    """Read what `dump_pins` has written."""
    return {
        name: ModelPins(
            {int(number): Pin(**pin) for number, pin in model["versions"].items()}, model["reason"], model["is_needed"]
        )
        for name, model in json.loads(text).items()
    }

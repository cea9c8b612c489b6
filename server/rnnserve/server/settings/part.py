"""What the options of each subject have in common: they are checked where they are put together."""

import dataclasses

from rnnserve.server.errors import StartError

__all__ = ["SettingsPart"]


@dataclasses.dataclass(frozen=True)
class SettingsPart:
    """Options of one subject.

    A part whose options have to fit together checks that in a `__post_init__` of its own, which begins with
    `super().__post_init__()`: `Settings` has all parts as its bases, and so the checks of each.

    Raises:
        StartError: If an option has a value that is not one of its choices.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            choices = field.metadata["option"].choices if "option" in field.metadata else ()
            if choices and (value := getattr(self, field.name)) not in choices:
                raise StartError(f"--{field.name.replace('_', '-')} {value!r}: choose from {', '.join(choices)}")

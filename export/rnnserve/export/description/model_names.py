"""The rule for a model's name, which is a folder's; without torch, so that a command tells a bad one at once."""

from rnnserve.export.errors import WrongArguments
from rnnserve.protos.names import is_model_name

__all__ = ["check_model_name"]


def check_model_name(name: str) -> None:
    """Check that a model's folder may have a name.

    Raises:
        WrongArguments: If not.
    """
    if not is_model_name(name):
        raise WrongArguments(
            f"the name {name!r} cannot be a model's folder: use letters, digits, _, . and -, and begin with a letter, "
            "a digit or _"
        )

"""What a file does not say, asked for in one message: each answer is an option, ready to paste."""

import dataclasses
from collections.abc import Sequence

from rnnserve.export.errors import WrongArguments

__all__ = ["Question", "ask"]


@dataclasses.dataclass(frozen=True)
class Question:
    """Something that a file does not say.

    Attributes:
        why: What is not known, without the option.
        option: The option that answers it, such as `--constant sr=16000`.
        hint: What else helps to answer it; empty for nothing.
    """

    why: str
    option: str
    hint: str = ""

    def __str__(self) -> str:
        """Give the question by itself."""
        return f"{self.why}: {self.option}{self.hint}"


def ask(questions: Sequence[Question]) -> None:
    """Ask all questions at once.

    Raises:
        WrongArguments: If there are any.
    """
    if not questions:
        return
    if len(questions) == 1:
        raise WrongArguments(str(questions[0]))
    options = " ".join(dict.fromkeys(question.option for question in questions))
    reasons = "; ".join(f"{question.why}{question.hint}" for question in questions)
    raise WrongArguments(f"the file does not say enough. Add, with your values: {options} ({reasons})")

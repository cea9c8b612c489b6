"""The common part of the programs in Python: the plan that they read, and the lines that they print.

It runs in environments of clients, and so needs the standard library only.
"""

import asyncio
import inspect
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["PLAN", "STATUSES", "feature", "run", "statuses"]

PLAN: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
"""Addresses, models and right answers, as `served.py` writes them."""

STATUSES = {"400": "INVALID_ARGUMENT", "404": "NOT_FOUND", "501": "UNIMPLEMENTED", "503": "UNAVAILABLE"}
"""gRPC's names for HTTP's statuses."""

_FUNCTIONS: dict[str, Callable[[], Any]] = {}


def feature(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a function, or a coroutine function, that tries a feature: it returns where it works, or raises."""

    def register(function: Callable[[], Any]) -> Callable[[], Any]:
        _FUNCTIONS[name] = function
        return function

    return register


def statuses(error: BaseException) -> tuple[str, str] | None:
    """Status and message of an error of grpcio, or None for other errors."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if callable(code) and callable(details) and hasattr(code(), "name"):
        return code().name, details()
    return None


def run(refusal: Callable[[BaseException], tuple[str, str] | None] = statuses) -> None:
    """Try all features, and print the outcomes.

    Args:
        refusal: Gives status and message of an exception with which the client tells an answer's status.
    """
    for name, function in _FUNCTIONS.items():
        if name in sys.argv[2:]:  # this client does not offer it
            continue
        outcome = {"feature": name, "outcome": "works"}
        try:
            if inspect.iscoroutinefunction(function):
                asyncio.run(function())
            else:
                function()
        except Exception as error:  # noqa: BLE001 - whatever a client raises is its outcome
            found = refusal(error)
            if found is not None:
                outcome |= {"outcome": "refused", "status": found[0], "words": found[1]}
            else:
                outcome |= {"outcome": "failed", "words": f"{type(error).__name__}: {error}"}
                traceback.print_exc()
        print(json.dumps(outcome), flush=True)

"""The common part of the programs in Python: the plan that they read, and the lines that they print.

It runs in the clients' environments, so it imports only the standard library.
"""

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLAN: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
"""Addresses, models and right answers, as `served.py` writes them."""

_FUNCTIONS: dict[str, Callable[[], Any]] = {}


def feature(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a function that tries a feature. The function raises an exception if the feature fails."""

    def register(function: Callable[[], Any]) -> Callable[[], Any]:
        _FUNCTIONS[name] = function
        return function

    return register


def run(refusal: Callable[[BaseException], tuple[str, str] | None]) -> None:
    """Try all features, and print the outcomes.

    Args:
        refusal: Returns status and message of a client's exception, or None if it isn't an error status.
    """
    for name, function in _FUNCTIONS.items():
        if name in sys.argv[2:]:  # this client does not offer it
            continue
        outcome = {"feature": name, "outcome": "works"}
        try:
            function()
        except Exception as error:  # noqa: BLE001 - whatever a client raises is its outcome
            found = refusal(error)
            if found is not None:
                outcome |= {"outcome": "refused", "status": found[0], "words": found[1]}
            else:
                outcome |= {"outcome": "failed", "words": f"{type(error).__name__}: {error}"}
                traceback.print_exc()
        print(json.dumps(outcome), flush=True)

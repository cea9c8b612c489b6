"""What `roll` uses of torch that is not public, tried with torch 2.9 to 2.13."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch.fx.traceback

__all__ = ["lines_of"]


@contextlib.contextmanager
def lines_of(meta: Mapping[str, Any]) -> Iterator[None]:
    """Have what is captured in the context come from a line of the user's code."""
    yield

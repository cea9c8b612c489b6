"""The page of the artifact's format: a version's files, and each field of its manifest, as manifest.proto says it."""

import importlib
import inspect
import re
from collections.abc import Iterator

from proto_reference import Proto

_MODULES = ("artifact", "golden", "recorded_defaults", "signing.signed_version", "serving_graph")
"""Modules of the contracts whose docstrings say what files hold."""


def artifact() -> Iterator[str]:
    """The page, line by line."""
    yield "# Artifact\n"
    yield (
        "What lies in a repository for each version of a model, as the code and `protos/manifest.proto` say it. "
        "`rnnserve inspect` shows it for a version; [signing.md](../signing.md) says what signatures add.\n"
    )
    for name in _MODULES:
        module = importlib.import_module(f"rnnserve.protos.{name}")
        yield f"## `protos/{name.replace('.', '/')}.py`\n\n```text\n{inspect.cleandoc(module.__doc__ or '')}\n```\n"
    proto = Proto("manifest.proto")
    yield "## The manifest\n"
    yield f"{_named(proto.intro)}\n"
    for one in proto.described():
        for line in one.lines():
            yield _named(line)


def _named(text: str) -> str:
    """A text with the files of modules in the place of their names, which are no public ones."""
    return re.sub(r"\brnnserve\.protos\.(\w+)", r"protos/\1.py", text)

"""Documents and examples use public names only: those that an area itself offers."""

import ast
import re

import pytest

from kit.paths import ROOT

AREAS = ("cli", "client", "cluster", "common", "export", "load", "models", "protos", "server", "web")
MODULES_FOR_USERS = {
    "rnnserve.server.testing",  # not in `rnnserve.server`, since only tests need it
    "rnnserve.protos.inference_pb2",  # the protocol's stubs, as its compiler makes them
    "rnnserve.protos.inference_pb2_grpc",
}
FOR_CONTRIBUTORS = {"architecture.md", "files.md"}  # they name modules
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in FOR_CONTRIBUTORS),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    *sorted((ROOT / "docs" / "reference").glob("*.md")),
    *sorted((ROOT / "examples").glob("*.py")),
]


def offered(area):
    """The names in `__all__` of an area."""
    tree = ast.parse((ROOT / area / "rnnserve" / area / "__init__.py").read_text())
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


PUBLIC = MODULES_FOR_USERS.union(*({f"rnnserve.{area}.{name}" for name in offered(area)} for area in AREAS))


def private_names(text):
    """What a text imports of rnnserve, or calls by its full name, and what is not public."""
    named = set(re.findall(r"\brnnserve\.\w+\.\w[\w.]*", text))
    for module, names in re.findall(r"^ *from (rnnserve\.\w+) import \(?([^()\n]+|[^()]+(?=\)))", text, re.MULTILINE):
        named |= {f"{module}.{name}" for name in re.findall(r"(\w+)(?: as \w+)?", names)}
    return {name for name in named if not any(f"{name}.".startswith(f"{public}.") for public in PUBLIC)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_public_names_are_documented(path):
    assert private_names(path.read_text(encoding="utf-8")) == set()


def test_private_names_are_found():
    text = (
        "from rnnserve.client import Client, sync_client\nfrom rnnserve.client.channel import x\n`rnnserve.server.app`"
    )
    assert private_names(text) == {"rnnserve.client.sync_client", "rnnserve.client.channel", "rnnserve.server.app"}
    assert private_names("from rnnserve.export import (\n    publish,\n    nothing,\n)") == {"rnnserve.export.nothing"}
    assert private_names("from rnnserve.server.testing import serve; rnnserve.server.Server.address") == set()

"""Documents and examples use only the public names of an area."""

import ast
import re

from kit.paths import ROOT

AREAS = ("cli", "client", "cluster", "common", "export", "load", "models", "protos", "server", "web")
MODULES_FOR_USERS = {
    "rnnserve.server.testing",  # not in `rnnserve.server`, since only tests need it
    "rnnserve.protos.inference_pb2",  # the protocol's stubs, as its compiler makes them
    "rnnserve.protos.inference_pb2_grpc",
}
FOR_CONTRIBUTORS = {"architecture.md"}  # it names modules
PATTERNS = ("*.md", "docs/**/*.md", "examples/*.py")


def offered(area):
    """The full names in `__all__` of an area."""
    tree = ast.parse((ROOT / area / "rnnserve" / area / "__init__.py").read_text())
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            return {f"rnnserve.{area}.{name}" for name in ast.literal_eval(node.value)}
    return set()


PUBLIC = MODULES_FOR_USERS.union(*map(offered, AREAS))


def private_names(text):
    """What a text imports of rnnserve, or calls by its full name, and what isn't public."""
    named = set(re.findall(r"\brnnserve\.\w+\.\w[\w.]*", text))
    for module, names in re.findall(r"^ *from (rnnserve\.\w+) import \(?([^()\n]+|[^()]+(?=\)))", text, re.MULTILINE):
        named |= {f"{module}.{name}" for name in re.findall(r"(\w+)(?: as \w+)?", names)}
    return {name for name in named if not any(f"{name}.".startswith(f"{public}.") for public in PUBLIC)}


def test_documents_and_examples_use_public_names():
    paths = [path for pattern in PATTERNS for path in sorted(ROOT.glob(pattern)) if path.name not in FOR_CONTRIBUTORS]
    found = {str(path): private_names(path.read_text()) for path in paths if path.name != "CHANGELOG.md"}
    assert {path: names for path, names in found.items() if names} == {}
    planted = (
        "from rnnserve.client import Client, sync_client\nfrom rnnserve.client.channel import x\n`rnnserve.server.app`"
    )
    assert private_names(planted) == {"rnnserve.client.sync_client", "rnnserve.client.channel", "rnnserve.server.app"}

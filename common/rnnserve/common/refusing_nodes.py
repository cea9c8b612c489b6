"""Names of nodes that fail where eager PyTorch raises an error: the words that a client gets, in the file itself.

ONNX has no operator that raises an error. A node that cannot run does, and onnxruntime's message has its name.
"""

__all__ = ["refusal_of_node", "refusing_name"]

_PREFIX = "refused_as_in_eager"


def refusing_name(why: str, unique: str) -> str:
    """Name a node that fails where eager raises an error.

    `why` is what eager doesn't compute, such as "the largest of no values", without a slash; `unique` tells it apart.
    """
    return f"{_PREFIX}/{why}/{unique}"


def refusal_of_node(name: str) -> str:
    """Give what `refusing_name` was given. Empty for the name of another node."""
    prefix, _, rest = name.partition("/")
    return rest.partition("/")[0] if prefix == _PREFIX else ""

"""Names of graph nodes that fail on purpose, where eager PyTorch raises an error. The name contains the message.

ONNX has no operator that raises an error, so the export adds a node that cannot run. onnxruntime's error message
contains the node's name, from which the server takes the message for the client.
"""

__all__ = ["refusal_of_node", "refusing_name"]

_PREFIX = "refused_as_in_eager"


def refusing_name(why: str, unique: str) -> str:
    """Return the name of a node that fails where eager PyTorch raises an error.

    `why` describes what PyTorch can't compute, such as "the largest of no values". It must not contain a slash.
    `unique` makes the name unique in the graph.
    """
    return f"{_PREFIX}/{why}/{unique}"


def refusal_of_node(name: str) -> str:
    """Return the `why` of a name from `refusing_name`, or an empty text for any other node."""
    prefix, _, rest = name.partition("/")
    return rest.partition("/")[0] if prefix == _PREFIX else ""

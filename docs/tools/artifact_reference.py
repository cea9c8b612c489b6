"""The part of the reference about the artifact: the fields of its manifest, as manifest.proto describes them."""

import re
from collections.abc import Iterator

from proto_reference import Proto


def manifest() -> Iterator[str]:
    """Yield the messages and enumerations of the manifest."""
    for one in Proto("manifest.proto").described():
        # modules are not public names, so their files are named
        yield from (re.sub(r"\brnnserve\.protos\.(\w+)", r"protos/\1.py", line) for line in one.lines())

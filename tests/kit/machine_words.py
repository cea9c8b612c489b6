"""Words that would tell where, and by whom, a file was made. Searched for in artifacts."""

import getpass
import os
import socket
import sys
from pathlib import Path

from kit.paths import ROOT

_SHORTEST = 8  # characters: the two letters of a host called "vm" are in any compressed array

# What artifacts say of themselves: a host or user of such a name cannot be told from it.
_OWN_WORDS = "rnnserve onnxruntime onnxscript torchscript direction_small sequence features counter-clockwise"


def machine_words(*folders: Path | str) -> set[bytes]:
    """Paths and names of this machine and user, where they are too long to occur by chance.

    Args:
        folders: Further folders that must not be named.
    """
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = ""
    names = {name for name in (socket.gethostname(), user) if name not in _OWN_WORDS}
    paths = {os.environ.get("HOME", ""), str(Path.cwd()), str(ROOT), sys.prefix, "site-packages"}
    return {word.encode() for word in names | paths | set(map(str, folders)) if len(word) >= _SHORTEST}

"""Python for programs of a few lines that import nothing of the project, such as workers in the place of servers.

Without `site` it starts in 10 ms: nothing installed is looked for, and no coverage begun, which takes 140 ms.
"""

import sys

__all__ = ["BARE_PYTHON"]

BARE_PYTHON = [sys.executable, "-I", "-S", "-c"]
"""The command line, which the program follows. It has the standard library, and heeds no environment."""

"""`python -m rnnserve`: the console script, for an environment whose scripts are not on PATH.

`rnnserve` is a namespace package without an `__init__.py`, and this is its `__main__`.
"""

import sys

from rnnserve.cli import main

sys.exit(main())

"""`python -m rnnserve`: the console script, for an environment whose scripts are not on PATH.

`rnnserve` is a namespace package without an `__init__.py`; its `__main__` is here.
"""

import sys

from rnnserve.cli import main

sys.exit(main())

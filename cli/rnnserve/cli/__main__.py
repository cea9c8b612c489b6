"""`python -m rnnserve.cli`: the console script, where there is no script."""

import sys

from rnnserve.cli import main

sys.exit(main())

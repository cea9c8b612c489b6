"""`python -m rnnserve.cli`: the console script, if the script itself is not installed."""

import sys

from rnnserve.cli import main

sys.exit(main())

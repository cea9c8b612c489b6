"""`python -m rnnserve.cli`: the same as `python -m rnnserve`."""

import sys

from rnnserve.cli import main

sys.exit(main())

"""Coverage of the processes that tests start: each notes what it has executed, and not what nobody has.

With `source`, a process goes through all sources at its end, so that those appear of which nothing was executed. The
tests' own process does that; in the others it would be a fifth of the time of a short command.
"""

import base64
import json
import os

__all__ = ["note_executed_only"]

_CONFIG = "COVERAGE_PROCESS_CONFIG"
"""Where coverage's patch "subprocess" has the configuration for them: JSON of `CoverageConfig`, in base64."""


def note_executed_only() -> None:
    """Let processes that are started from now on, if they are measured, measure the same files by their names."""
    if _CONFIG not in os.environ:  # as in runs for mutants
        return
    config = json.loads(base64.b64decode(os.environ[_CONFIG]))
    if config["source"] is not None:  # not within a process that has been started so
        config |= {"source": None, "run_include": [f"{folder}/*" for folder in config["source"]]}
        os.environ[_CONFIG] = base64.b64encode(json.dumps(config).encode()).decode()

from kit.load_tests import (
    _walk_server,
    address,
    generators,
    load,
    load_test,
    measured,
    result,
    run,
    spec,
    sweep,
    walks,
)

__all__ = [
    "_walk_server", "address", "generators", "load", "load_test", "measured", "result", "run", "spec", "sweep", "walks",
]  # fmt: skip

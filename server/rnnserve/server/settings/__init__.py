"""The options of the server, each declared once.

A field with `option(…)` as its metadata is an option: its name, type, default and help, its place on the command lines
of `rnnserve serve` and of its workers, its variable and its key in a file. A new option is one field in the file of its
subject, a line about it among the attributes there, and its use; the whole object, `Settings`, is passed to where
options are used. Those of the command alone, such as `--workers`, are in
`rnnserve.server.commands.command_settings`.

================  =============================================================
file              options of
================  =============================================================
`place.py`        what is served, and where
`models.py`       which models and versions serve, when, and how they run
`tls.py`          TLS
`access.py`       whose calls are answered
`signatures.py`   which versions have to be signed
`sequences.py`    what is kept of sequences and sessions
`limits.py`       what a request may be, and how many may wait
`endings.py`      how a server and its connections end
`observing.py`    what is told of single requests
`part.py`         no options: what the files above have in common
`settings.py`     no options: all of them together
`option.py`       no options: how a field is one
================  =============================================================

Imports `errors`, `rnnserve.common` and `rnnserve.protos`; no gRPC.

Door: `__all__`, `access`, `option`.
"""

from rnnserve.server.settings.settings import Settings

__all__ = ["Settings"]

"""Which signatures let a version serve: keys that are trusted, what is refused, and that no model goes back.

`gate` decides; `refused_signatures` is the list of what was revoked; `highest_releases` is what has served of each
model, shared by workers and kept over restarts where there is a file for it. What a signature is, and reading one, is
in `rnnserve.protos.signing`.

Imports `errors`, `settings`, `rnnserve.protos` and `rnnserve.common`; no gRPC.

Door: `gate`.
"""

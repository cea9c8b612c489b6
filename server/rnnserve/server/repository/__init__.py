"""The repository: which versions of which models there are, which of them serve, and why the others do not.

In: a folder of artifacts. Out: `ServedVersion`s, whose models run batches; a version serves only after its digests held
and its golden results came out right on this machine's provider: in the process of a load check (`load_checks`) first,
then in the server's own (`loader`).

Imports `batching`, `validation`, `system`, `counting`, `observing`, `settings`, `clock`, `errors`, the
contracts (`rnnserve.protos`), `rnnserve.common` and onnxruntime; no gRPC.

Threads: `load_checks`.

Door: `folders`, `live`, `load_checks`, `loader`, `model`, `model_state`, `providers`, `repository`,
`signed_versions`.
"""

import os

# onnxruntime 1.32 reports its use to its maker, over HTTPS, and complains if it cannot keep an id for that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

"""The repository: which versions of which models there are, which of them serve, and why the others do not.

In: a folder of artifacts. Out: `ServedVersion`s, whose models run batches; a version serves only after its digests held
and its golden results came out right on this machine's provider: in a process that tries versions (`trials`,
`trial_worker`) first, then in the server's own (`loader`).

Imports `batching`, `validation`, `system`, `counting`, `observing`, `clock`, `errors`, the
contracts (`rnnserve.protos`), `rnnserve.common` and onnxruntime; no gRPC.

Threads: `trials`.

Door: `draft`, `entries`, `findings`, `folders`, `giving_way`, `graph_choice`, `live`, `loader`, `model`,
`model_state`, `providers`, `repository`, `signed_versions`, `trial_worker`, `trials`.
"""

import os

# onnxruntime 1.32 reports its use to its maker, over HTTPS, and complains where it cannot keep an id for that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

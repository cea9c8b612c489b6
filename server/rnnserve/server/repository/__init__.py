"""The repository: which models and versions exist, which versions serve, and why the others don't.

In: a folder of artifacts. Out: `ServedVersion`s, whose models run batches. A version serves only after its digests and
golden results were verified on this machine's provider. A load check verifies it in another process first
(`load_checks`), and then the server verifies it again (`loader`).

Imports `batching`, `validation`, `system`, `counting`, `observing`, `settings`, `clock`, `errors`, the
contracts (`rnnserve.protos`), `rnnserve.common` and onnxruntime; no gRPC.

Threads: `load_checks`.

Public: `folders`, `live`, `load_checks`, `loader`, `model`, `model_state`, `providers`, `repository`,
`signed_versions`.
"""

import os

# onnxruntime 1.32 reports its use to its maker, over HTTPS, and complains if it cannot keep an id for that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

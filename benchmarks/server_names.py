"""The names of the measured servers, and of their bounds, as in the tables."""

FAST_PATH, PLAIN, TWO_WORKERS = "rnnserve (fast path)", "rnnserve (plain)", "rnnserve (fast path), 2 workers"
NATIVE = "rnnserve (native)"
TRITON, TRITON_RAGGED, TRITON_SEQUENCES = "Triton", "Triton ragged", "Triton sequences"
GRPC_AIO, GRPC_SERVER, CONSTANT = "grpc.aio", "grpc.server", "fast path, constant"

HTTP, HTTP_TWO, BESIDE_HTTP = "rnnserve (HTTP)", "rnnserve (HTTP), 2 gateways", "rnnserve (fast path), HTTP idle"
TRITON_HTTP, MOSEC, LITSERVE, MLSERVER = "Triton (HTTP)", "mosec", "LitServe", "MLServer"
WITH_TOKENS, UNASKED_TOKENS = "rnnserve (fast path), --tokens", "rnnserve (fast path), the same header"
ALONE, BESIDE_JSON = "gRPC alone", "gRPC beside 16 MiB JSON"

SESSION_RUN, EAGER = "session.run", "eager PyTorch"

MODEL_LIMITS = (SESSION_RUN, EAGER)
"""Without servers: the batches of a scenario in a bare loop, as large as its requests in flight allow. A server could
reach this speed if receiving, batching and responding cost nothing."""

INFERENCE_SERVERS = (FAST_PATH, NATIVE, TRITON, TRITON_RAGGED, PLAIN, GRPC_AIO, GRPC_SERVER)
"""The order of the turns: servers whose metrics are divided by each other have neighboring turns."""

HTTP_SERVERS = (HTTP, MOSEC, TRITON_HTTP)

ALL_SERVERS = (
    *(CONSTANT, ALONE, BESIDE_JSON),
    *INFERENCE_SERVERS,
    TWO_WORKERS,
    TRITON_SEQUENCES,
    *MODEL_LIMITS,
    *(WITH_TOKENS, UNASKED_TOKENS),
    *(BESIDE_HTTP, *HTTP_SERVERS, HTTP_TWO, MLSERVER, LITSERVE),
)

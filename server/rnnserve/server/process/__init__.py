"""The process: what the system gives it, and what it says where that is too little.

`start_check`: threads and memory before they are needed; `memory_limits`: the limits on addresses and memory, and what
they leave for requests; `descriptors`: a line where no descriptor is left; `resources`: which limit an error comes
from; `tls_files`: what TLS is served with; `signals`: those of the process.

Imports `settings`, `errors` and `rnnserve.common`; no gRPC.

Threads: `signals`, `start_check`.

Door: `descriptors`, `memory_limits`, `resources`, `signals`, `start_check`, `thread_frames`, `tls_files`.
"""

"""The process: what the system gives it, and what it says where that is too little.

`start_check`: threads and memory before they are needed; `descriptors`: a line where no descriptor is left;
`resources`: which limit an error comes from; `tls_files`: what TLS is served with; `signals`: those of the process.

Imports `settings`, `errors` and `rnnserve.common`; no gRPC.

Threads: `signals`, `start_check`.

Door: `descriptors`, `resources`, `signals`, `start_check`, `tls_files`.
"""

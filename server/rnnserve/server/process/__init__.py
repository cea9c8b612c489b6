"""The process: what the system gives it, and what it says where that is too little.

`start_check`: threads and memory before they are needed; `memory_limits`: the limits on addresses and memory, and what
they leave for requests; `cgroup`: what a container may take; `descriptors`: a line where no descriptor is left;
`resources`: which limit an error comes from.

Imports `errors`; no gRPC.

Threads: `start_check`.

Door: `certificate_watch`, `cgroup`, `descriptors`, `memory_limits`, `resources`, `start_check`, `thread_frames`.
"""

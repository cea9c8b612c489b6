"""The process: what the system gives it, and what it says where that is too little.

`start_check`: threads and memory before they are needed; `address_space`: the limit on addresses, and what it leaves
for requests; `descriptors`: a line where no descriptor is left; `resources`: which limit an error comes from.

Imports `errors`; no gRPC.

Threads: `start_check`.

Door: `address_space`, `certificate_watch`, `descriptors`, `resources`, `start_check`, `thread_frames`.
"""

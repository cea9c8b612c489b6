"""What several areas need, and what is no contract: guarded processes, regular files, archives of arrays, the log.

`child_process` starts, watches and ends processes. `guarded_process` runs work that may crash, hang or take memory in
one, and `guarded_work` is that process's end. `regular_files` opens files that may not be links, pipes
or elsewhere. `array_archives` reads .npz files within bounds. `refusing_nodes` names nodes of a graph that raise an
error. `log_format`, `log_limits` and `unblocked_output` are how processes that serve write their log, and
`request_lines` is what it says of single requests. `gateway_counts` is what an HTTP gateway counts for its server.
`tls_identity` reads and checks the files for TLS and `tls_watch` follows them while they are served;
`certificate_end` is when one ends. `telemetry` exports traces. `lasting_imports`
pauses the garbage collector of a command while torch is imported. `allocation` has the C library give memory back, and
`resident_memory` says how much the process has; `cgroup` says what a container or a unit may take: cores and memory.
`hosts` says which names mean this machine, and `toml_files` reads TOML. `extras` says how to install a missing package.

Imports no area.

Threads: `child_process`, `guarded_work`, `telemetry`, `tls_watch`, `unblocked_output`.

Door: `allocation`, `array_archives`, `cgroup`, `child_process`, `extras`, `gateway_counts`,
`guarded_process`, `guarded_work`, `hosts`, `lasting_imports`, `log_format`, `log_limits`, `refusing_nodes`,
`regular_files`, `request_lines`, `resident_memory`, `telemetry`, `tls_identity`, `tls_watch`, `toml_files`,
`unblocked_output`.
"""

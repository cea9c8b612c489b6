"""What several areas need, and what is no contract: guarded processes, regular files, archives of arrays, the log.

`guarded_process` runs work that may crash, hang or take memory in a process of its own, and `guarded_work` is that
process's end; `parent_death` ends a process with its parent. `regular_files` opens files that may not be links, pipes
or elsewhere. `array_archives` reads .npz files within bounds. `refusing_nodes` names nodes of a graph that raise an
error. `log_format`, `log_limits` and `unblocked_output` are how processes that serve write their log, and
`request_lines` is what it says of single requests. `front_counts` is what an HTTP front counts for its server.
`tls_identity` reads and checks the files for TLS, `tls_watch` follows them while they are served, and `kept_identity`
is what processes pass on of them; `certificate_end` is when one ends. `telemetry` exports traces. `lasting_imports`
pauses the garbage collector of a command while torch is imported. `allocation` has the C library give memory back, and
`resident_memory` says how much the process has; `cgroup` says what a container or a unit may take: cores and memory.
`hosts` says which names mean this machine, and `toml_files` reads TOML. `extras` says how to install a missing package.

Imports no area.

Threads: `guarded_work`, `parent_death`, `telemetry`, `tls_watch`, `unblocked_output`.

Door: `allocation`, `array_archives`, `cgroup`, `extras`, `front_counts`, `guarded_process`,
`guarded_work`, `hosts`, `kept_identity`, `lasting_imports`, `log_format`, `log_limits`, `parent_death`,
`refusing_nodes`, `regular_files`, `request_lines`, `resident_memory`, `telemetry`, `tls_identity`, `tls_watch`,
`toml_files`, `unblocked_output`.
"""

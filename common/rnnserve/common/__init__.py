"""Helpers that several areas share: child processes, safe file reading, arrays, TLS files, the log.

- `child_process` starts, watches and ends processes.
- `guarded_process` runs risky work in a child, which may crash, hang or use too much memory. `guarded_work` is the
  child's side.
- `regular_files` reads files safely: no links that leave a folder, no pipes, no devices. `array_archives` reads .npz
  files in bounded memory. `toml_files` reads TOML.
- `refusing_nodes` names graph nodes that raise an error on purpose.
- `log_format`, `log_limits` and `unblocked_output` write the log of server processes. `request_lines` writes the log
  lines about single requests.
- `gateway_counts` holds the counters that an HTTP gateway shares with its server.
- `tls_identity` reads and checks TLS files, `tls_watch` reloads them while the server runs, and `certificate_end` reads
  the expiry date of a certificate.
- `telemetry` exports traces.
- `lasting_imports` pauses a command's garbage collector while torch is imported.
- `allocation` makes the C library return free memory to the operating system. `resident_memory` reads the memory use
  of the process, and `cgroup` the CPU and memory limits of its container or systemd unit.
- `hosts` recognizes names of this machine. `extras` writes the message for a missing package.

Imports no area.

Threads: `child_process`, `guarded_work`, `telemetry`, `tls_watch`, `unblocked_output`.

Door: `allocation`, `array_archives`, `cgroup`, `child_process`, `extras`, `gateway_counts`,
`guarded_process`, `guarded_work`, `hosts`, `lasting_imports`, `log_format`, `log_limits`, `refusing_nodes`,
`regular_files`, `request_lines`, `resident_memory`, `telemetry`, `tls_identity`, `tls_watch`, `toml_files`,
`unblocked_output`.
"""

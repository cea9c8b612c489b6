"""Helpers that several areas share: child processes, safe file reading, TLS files, the log.

- `child_process` starts, watches and ends processes. `guarded_process` runs risky work in a child, which may crash,
  hang or use too much memory.
- `regular_files` reads files safely: no links that leave a folder, no pipes, no devices.
- `refusing_nodes` names graph nodes that raise an error on purpose.
- `log_lines` and `unblocked_output` write the log of server processes.
- `gateway_counts` holds the counters that an HTTP gateway shares with its server.
- `tls_identity` reads and checks TLS files, and reloads them while the server runs.
- `telemetry` exports traces.
- `process_memory` reads the memory use of the process, and makes the C library return free memory to the operating
  system. `cgroup` reads the CPU and memory limits of the container or systemd unit.
- `hosts` recognizes names of this machine. `extras` writes the message for a missing package.

Imports no area.

Threads: `child_process`, `guarded_process`, `telemetry`, `tls_identity`.

Public: `cgroup`, `child_process`, `extras`, `gateway_counts`, `guarded_process`, `hosts`, `log_lines`,
`process_memory`, `refusing_nodes`, `regular_files`, `telemetry`, `tls_identity`, `unblocked_output`.
"""

"""Run servers on the machines of a Ray cluster. Ray places whole servers and replaces lost ones.

Each server is an ordinary `rnnserve serve`, one per node. Clients send requests to it directly, not through Ray.

    servers         data classes for servers and their status, and the error of this area
    kept_server     restarts a server when it ends
    fleet           all servers of one name, and their rolling update
    on_ray/         the implementation with Ray actors; nothing else imports ray
    commands/       `rnnserve ray`

May import `client` and `common`. It starts `rnnserve serve` as a command.

Public: nothing.

Threads: `kept_server`.
"""

__all__: list[str] = []

"""What grpcio keeps to itself and this server uses: one place to look when grpcio moves.

Each module says what it needs, what is done where a grpcio lacks it, and when it can go. `operations`,
`socket_reading` and `missing_parts`: the lane's completion queue; `serving_thread`: whether grpcio's own thread runs;
`polling`: which engine reads sockets; `accepting`: how many calls the public transport asks its core for at once;
`lasting`: threads that take calls go on where there was no memory for one.

Imports `protocol` (the details of errors), `process`, `clock` and `errors`.

Threads: `accepting`.

Door: `accepting`, `lasting`, `missing_parts`, `operations`, `polling`, `serving_thread`, `socket_reading`.
"""

"""The ASGI application: routes and their handlers.

`application` handles each request in this order:

1. `edge` checks the headers, host and origin.
2. `routes` has the table in which the route is found.
3. `access` checks whether the client may use the route.
4. The handler responds. Handlers are in `handlers` (inference and the rest of the protocol), `streams` (WebSockets),
   `metrics` and `page`.

`exchange` has the request and reads its body, and `bodies` limits the bytes in flight.

Public: `access`, `application`, `request_log`, `routes`.
"""

__all__: list[str] = []

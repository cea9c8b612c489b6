"""The ASGI application: routes and their handlers.

`application` handles each request in this order:

1. `edge` checks the path, host and origin.
2. `routes` has the table in which the route is found.
3. `access` checks whether the client may use the route.
4. The handler responds. Handlers are in `infer` (inference), `streams` (WebSockets), `handlers` (the rest of the
   protocol), `metrics` and `page`.

`exchange` has the request and reads its body, and `bodies` limits the bytes in flight.

Door: `access`, `application`, `request_log`, `routes`.
"""

__all__: list[str] = []

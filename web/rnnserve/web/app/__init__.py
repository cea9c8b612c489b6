"""The ASGI application: which route answers what.

`application` makes it, from an `Upstream` and a few settings; `routes` is the table of paths. Each further module holds
the handlers of one kind of route. What every request passes is in `edge` (paths, ids, errors) and `bodies`.

Imports `upstream`, `rest`, and Starlette.

Threads: `large_bodies`.

Door: `application`, `reference`.
"""

__all__: list[str] = []

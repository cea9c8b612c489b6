"""The ASGI application: which route answers what.

`application` makes it, from an `Upstream` and a few settings; `routes` is the table of paths. Each further module holds
the handlers of one kind of route. What every request passes is in `edge` (paths, ids, errors) and `bodies`.

`site` is the whole table, with the pages: `reference`, and the page of what serves (`static/page.html`), which asks
`overview` and `live_numbers`.

Imports `upstream`, `rest`, and Starlette.

Threads: `large_bodies`.

Door: `application`, `site`.
"""

__all__: list[str] = []

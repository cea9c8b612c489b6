"""The ASGI application: which route answers what.

`application` makes it, from an `Upstream` and a few settings; `routes` is the table of paths. Each further module holds
the handlers of one kind of route. What every request passes is in `edge` (paths, ids, errors) and `bodies`.
`site` is the whole table, with the pages: `reference`, and the page of what serves (`static/page.html`), which asks
`overview` and `live_numbers`. `front_server` tells the application when it ends. Large bodies are read, and answers
written, by `large_bodies` (in a process that does `body_process_work`) and `large_answers`; large requests have `turns`
at the server. `direct_infer` answers most inference requests by callbacks, before there is a scope or a task for them:
what both ways do is by the same functions.

Imports `http1`, `upstream`, `rest`, Starlette, and Uvicorn.

Threads: `large_bodies`.

Door: `access`, `application`, `front_server`, `http_spans`, `request_log`, `site`.
"""

__all__: list[str] = []

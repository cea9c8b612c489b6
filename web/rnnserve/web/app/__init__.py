"""The ASGI application: which route answers what.

`application` serves requests: it finds their route in the table of `routes`, after `edge` has checked where they come
from and `access` whether they may ask, and `bodies` reads what they bring. The handlers are in `infer` (inference),
`handlers` (the rest of the protocol), `metrics` and `page`.

Door: `access`, `application`, `request_log`, `routes`.
"""

__all__: list[str] = []

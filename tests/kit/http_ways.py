"""Every route of the HTTP front with each of its methods, and bodies that those take which have one."""

import json

from rnnserve.web.app.site import site_routes

__all__ = ["BODIES", "BODY", "SIMPLE", "WAYS"]

SIMPLE = "direction_simple"
BODY = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3, 2], "data": [0.0] * 6}]}).encode()
STEPS = json.dumps({"input": [[0.0, 0.0], [1.0, 1.0]]}).encode()
BODIES = {"infer": BODY, "generate": STEPS}
WAYS = [
    (
        entry.name,
        method,
        entry.path.format(
            model="no_such" if entry.name == "control" else SIMPLE,
            version="1",
            region="r",
            repository="r",
            file="page.js",
        ),
    )
    for entry in site_routes()
    for method in (*entry.handlers, "OPTIONS", *(["HEAD"] if "GET" in entry.handlers else []))
]

"""From the bodies of HTTP requests to messages of the protocol, and back: pure functions, without a server.

Only what the body's form can show is refused here; what a tensor may be, the server decides, in its own words.

Door: `compression`, `infer_request`, `infer_response`, `json_tensors`.
"""

__all__: list[str] = []

"""From the bodies of HTTP requests to messages of the protocol, and back: pure functions, without a server.

`infer_request` and `infer_response` are the two ways of the inference protocol, `raw_request` reads a body that is one
tensor and nothing else, `known_requests` reads those of a form that came before, `generation` the requests of Triton's
generate extension. They are made of `json_text`, `json_tensors` (lists to bytes and back) and `parameters`;
`compression` is for bodies of any kind.

What only the body's form can show is refused here; what a tensor may be is the server's to say, in its own words.
Imports `errors`, the protocol's messages and numpy.

Door: `compression`, `generation`, `infer_request`, `infer_response`, `json_tensors`, `json_text`,
`known_requests`, `message_json`, `parameters`, `raw_request`.
"""

__all__: list[str] = []

"""Pure functions that convert HTTP bodies to protocol messages and back.

These functions only refuse malformed bodies. The server validates the tensors and writes the error messages for them.

Public: `infer_request`, `infer_response`, `json_tensors`.
"""

__all__: list[str] = []

"""Showing what a repository holds, from the manifests alone: for people, as JSON, and as a client's first lines.

`version_record` reads a version; `text_report`, `json_report` and `client_snippet` show it. The package imports protos
only, so that it works without torch, onnx and onnxruntime.

Door: `json_report`, `text_report`, `version_record`.
"""

"""Showing what a repository holds, from the manifests alone: for people, as JSON, and as a client's first lines.

`version_record` reads a version, `signature_record` its signature; `text_report`, `json_report`, `client_snippet` and
`sbom` show it. The package imports protos only, so that it works without torch, onnx and onnxruntime; `sbom` alone
imports cyclonedx, when it is asked for.

Door: `json_report`, `sbom`, `text_report`, `version_record`.
"""

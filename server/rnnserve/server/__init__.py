"""Serve artifacts over gRPC: repository, boundary, batching, transports. Needs neither torch nor onnx."""

"""The command that this area brings to `rnnserve`."""

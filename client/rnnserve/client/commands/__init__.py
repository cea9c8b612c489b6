"""The commands `rnnserve infer` and `rnnserve load`."""

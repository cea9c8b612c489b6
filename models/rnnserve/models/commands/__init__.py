"""The sub-commands of `rnnserve` that the models bring: `train`."""

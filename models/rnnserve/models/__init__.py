"""The direction classifiers: data, modules, training, checkpoints, and the tutorial that they come from."""

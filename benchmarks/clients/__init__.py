"""The load generators, neutral ones: how they are run, and what their output says."""

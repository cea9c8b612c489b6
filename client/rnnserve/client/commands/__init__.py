"""The command `rnnserve infer`, and the options of every command that asks a server."""

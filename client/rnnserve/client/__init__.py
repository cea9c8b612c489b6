"""Ask a server: the client library, and the command that reads sequences from files."""

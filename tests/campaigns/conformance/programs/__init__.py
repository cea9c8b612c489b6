"""A program for each client, in the client's language and environment.

A program's arguments are the file that `served.py` writes, a JSON object with the servers' addresses and the correct
answers, and the names of the features that its client doesn't offer. It tries each feature and prints a line of JSON
with these keys:

`feature` a name in `features.py`
`outcome`   "works"; "refused" if the server responded with an error status; "failed"; or "not offered" by this client
`status` if refused: the gRPC status, such as "UNIMPLEMENTED"
`words` unless it works: the server's message, the failure, or why the client lacks the feature

`test_clients.py` decides whether a refusal is correct. Programs in Python use `reporting.py`.
"""

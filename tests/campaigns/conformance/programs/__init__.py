"""A program for each client, in the client's language and environment.

A program gets the file that `served.py` writes: a JSON object with the addresses of the servers and the right answers;
and after that the names of the features that its client does not offer. It tries feature after feature, and prints a
line of JSON for each, with these keys:

`feature`   a name of `features.py`
`outcome`   "works"; "refused", where the server answered with a status; "failed"; or "not offered" by this client
`status`    of "refused": the gRPC status, "UNIMPLEMENTED"
`words`     of all but "works": the server's message, what went wrong, or why it is not offered

Whether "refused" is right is not the program's to know: `test_clients.py` compares it with the feature. Programs in
Python get all this from `reporting.py`.
"""

"""Conformance: what clients in the wild can do with the server (`make conformance`).

=====================  =========================================================================================
file                   what it does
=====================  =========================================================================================
`__main__.py`          the command: servers, clients, table
`features.py`          the features, one a row
`clients.py`           the clients of gRPC, one a column: environment, program, and what they do not offer
`http_clients.py`      the clients of HTTP
`environments.py`      makes an environment for each client, once, from package registries
`served.py`            the models and servers that clients ask, and the right answers
`drawn_walks.py`       10,000 walks for a trained model, and what gRPC answers to each
`outcomes.py`          from what a program printed to works, refused, not offered or FAILED
`running.py`           runs a client's program
`table.py`             prints the table
`document.py`          the OpenAPI document against what the server answers, by schemathesis
`programs/`            a program for each client, which runs in the client's own environment and imports nothing of ours
=====================  =========================================================================================

A program prints a line of JSON for each feature, whatever its language: `programs/__init__.py` says which.

Nothing here is imported by other tests, and pytest collects nothing from here but `test_*.py`.
"""

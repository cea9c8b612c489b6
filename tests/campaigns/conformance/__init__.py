"""Conformance: what clients in the wild can do with the server (`make conformance`).

=======================  =======================================================================================
file                     what it does
=======================  =======================================================================================
`test_clients.py`        runs each client against each transport, and schemathesis against the OpenAPI document
`features.py`            the features of the protocols that clients try
`clients.py`             the clients: environment, program, and the features that they don't offer
`environments.py`        makes an environment for each client, once, from package registries
`served.py`              the models and servers that clients ask, and the right answers
`document.py`            the table of docs/reference/compatibility.md
`programs/`              a program for each client, which runs in the client's own environment without our packages
=======================  =======================================================================================

A program prints a line of JSON for each feature, whatever its language: `programs/__init__.py` describes it.
"""

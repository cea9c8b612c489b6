"""Fuzzing: unusual inputs for everything that reads untrusted bytes (CONTRIBUTING.md).

=========================  =====================================================================================
file                       what it does
=========================  =====================================================================================
`wire_format.py`           protobuf's wire format, field by field
`byte_mutations.py`        changes bytes
`field_mutations.py`       changes the encoding of a request's fields
`message_mutations.py`     changes the content of a request
`traffic.py`               bursts of valid and mutated requests with common prefixes
`differential.py`          sends the same requests to two servers, and compares the answers
`served_models.py`         the models of these servers
=========================  =====================================================================================
"""

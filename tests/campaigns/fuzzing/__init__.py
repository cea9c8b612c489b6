"""Fuzzing: inputs that no one would write, to everything that reads bytes of others (CONTRIBUTING.md).

=========================  =====================================================================================
file                       what it does
=========================  =====================================================================================
`wire_format.py`           protobuf's wire format, field by field
`byte_mutations.py`        changes of bytes
`field_mutations.py`       changes of a request's fields as they are written
`message_mutations.py`     changes of what a request says
`traffic.py`               bursts of valid and mutated requests that share prefixes
`differential.py`          the same requests to two servers, and where they disagree
`served_models.py`         the models of these servers
=========================  =====================================================================================
"""

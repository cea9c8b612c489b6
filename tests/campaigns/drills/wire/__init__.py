"""Attacks over the wire on any server of the Open Inference Protocol: `python -m campaigns.drills.wire`.

Each attack is bounded in time and runs beside a bystander, a client with a process and a connection of its own. What is
known of the server is the protocol, and one model that serves; its tensors are read from its metadata.

=========================  =====================================================================================
file                       what it does
=========================  =====================================================================================
`__main__.py`              the command
`drill.py`                 runs attacks one after the other, and says what each did to server and bystander
`bystander.py`             the bystander's process, and the handle of it
`resident_memory.py`       the server's memory, sampled
`attack.py`                what an attack is, what it may use, and what it notes
`target.py`                the server: address, model, and valid requests
`http2.py`                 a connection of HTTP/2 whose frames are written by hand
`attacks/`                 the attacks: messages, tensors, management, calls, frames, connections
`report.py`                the table
=========================  =====================================================================================

Imports nothing of the server, and nothing of the other tests.
"""

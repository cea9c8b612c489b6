"""The descriptor pool of this package's messages.

tritonclient, KServe's SDK and others have their own stubs for the protobuf package `inference`. Two such definitions in
one descriptor pool are an error ("duplicate symbol"), and generated modules use the default pool of the process.
`protos/generate.py` makes our stubs use this pool, so that several libraries can share a process. Parsing costs the
same in both.

Code that looks messages up by name, gRPC's reflection for example, needs this pool as an argument. protobuf's
implementation in pure Python (a fallback, `PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python`) adds messages to the default
pool in any case, so with it the stubs of others still fail.
"""

from google.protobuf.descriptor_pool import DescriptorPool

__all__ = ["POOL"]

POOL = DescriptorPool()

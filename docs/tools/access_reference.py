"""What each method and route needs, in the words of the access table."""

import functools
import inspect
from collections.abc import Mapping
from types import MappingProxyType

from reference_text import first_sentence, said_of_names
from rnnserve.protos import access_table
from rnnserve.protos.access_table import Need


@functools.cache
def needs() -> Mapping[Need, str]:
    """What each need asks for, as its docstring says it."""
    said = said_of_names(inspect.getsource(access_table), "Need")
    return MappingProxyType({need: first_sentence(said[need.name,]).lower() for need in Need})

"""All families whose modules `export_onnx` takes or refuses."""

from kit.corpus.buffers import BUFFERS, HELD_VALUES
from kit.corpus.layers import LAYER_FORMS, LAYERS, USES
from kit.corpus.loop_states import LOOP_STATES
from kit.corpus.loops import LOOPS
from kit.corpus.numbered_loops import NUMBERED_LOOPS, STEP_NUMBERS
from kit.corpus.numbers import COMPLEX, NARROW, SPARSE
from kit.corpus.outside_states import HELD_OBJECTS, OUTER_VARIABLES
from kit.corpus.packed import PACKED
from kit.corpus.refused_layers import REFUSED_LAYERS
from kit.corpus.refused_loops import DECODERS, REFUSED_LOOPS
from kit.corpus.scans import SCANS
from kit.corpus.sizes import PLAIN_SIZES, SIZES
from kit.corpus.values import VALUES

__all__ = ["ROWS"]

FAMILIES = [
    BUFFERS,
    COMPLEX,
    DECODERS,
    NARROW,
    HELD_OBJECTS,
    HELD_VALUES,
    LAYERS,
    LAYER_FORMS,
    LOOPS,
    LOOP_STATES,
    NUMBERED_LOOPS,
    OUTER_VARIABLES,
    PACKED,
    PLAIN_SIZES,
    REFUSED_LAYERS,
    REFUSED_LOOPS,
    SCANS,
    SIZES,
    SPARSE,
    STEP_NUMBERS,
    USES,
    VALUES,
]
ROWS = [row for family in FAMILIES for row in family]

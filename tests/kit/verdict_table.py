"""What the analysis decides of small graphs, as a table: graph, verdicts, reason.

A graph has the inputs x (batch, sequence, 3) and lengths (batch,), and the output y. A heading gives its name; whether
rows, padding and causality are proven (+), refuted (-) or not decided (?); a phrase from the reason for the first
property that isn't proven; and the axes of y unless they are (batch, sequence, 3). The nodes stand below it, in ONNX's
text syntax. `@name` stands for nodes that several graphs begin with. `kit.graph_text` has the constants.
"""

import dataclasses
import functools

import onnx

from kit.graph_text import FEATURES, INPUTS, described, graph_of
from rnnserve.export.analysis import Decision, Property, Verdict, decide, worst
from rnnserve.protos import manifest_pb2

VERDICTS = {Verdict.PROVEN: "+", Verdict.REFUTED: "-", Verdict.NOT_DECIDED: "?"}

_SHARED = {
    "@turned": "t = Transpose <perm = [1, 0, 2]> (x)",
    "@channels": "t = Transpose <perm = [0, 2, 1]> (x)",
    "@back": "y = Transpose <perm = [0, 2, 1]> (c)",
    "@steps": "s = Shape <start = 1, end = 2> (x)  count = Squeeze (s)  steps = Range (scalar_0, count, scalar_1)",
    "@places": "s = Shape <start = 0, end = 1> (x)  count = Squeeze (s)  places = Range (scalar_0, count, scalar_1)",
    "@flags": "row = Unsqueeze (steps, _0)  column = Unsqueeze (lengths, _1)  inside = Less (row, column)",
    "@trimmed": "longest = ReduceMax <keepdims = 1> (lengths, _0)  trimmed = Slice (x, _0, longest, _1)",
}
_TABLE = """
# Entry by entry
elementwise | +++
    y = Tanh (x)
statistics that are constants | +++
    @channels  c = BatchNormalization (t, ones, zeros, zeros, ones)  @back
a random drop | ??? | Dropout "y"
    y = Dropout (x, half, true)
an operator of another domain | ??? | Tanh "y"
    y = elsewhere.Tanh (x)

# Reductions
a mean of features | +++ | | batch, sequence, 1
    y = ReduceMean (x, _2)
a mean of steps | +-- | averages over all steps | batch, 3
    y = ReduceMean <keepdims = 0> (x, _1)
a maximum that may be over no axes | ??? | ReduceMax "y"
    y = ReduceMax <noop_with_empty_axes = 1> (x)
a rare value in any row | --- | takes the largest of the rows of the batch
    e = Equal (x, half)  c = Cast <to = 1> (e)  any = ReduceMax <keepdims = 0> (c)  y = Add (x, any)
where the largest feature is | +++ | | batch, sequence
    a = ArgMax <axis = 2, keepdims = 0> (x)  y = Cast <to = 1> (a)
which row is the largest | -++ | looks for the largest of the rows
    a = ArgMax <axis = 0> (x)  f = Cast <to = 1> (a)  y = Add (x, f)
one of the features | +++
    y = Hardmax <axis = 2> (x)
probabilities of steps | +-- | computes softmax over all steps
    y = LogSoftmax <axis = 1> (x)
features normalized | +++
    y = LayerNormalization <axis = -1> (x, ones, zeros)
steps normalized | +-- | normalises over all steps
    @channels  c = InstanceNormalization (t, ones, zeros)  @back
a running sum | +++
    y = CumSum (x, scalar_1)
a running sum from the end | +-- | sums backwards over all steps
    y = CumSum <reverse = 1> (x, scalar_1)
linear attention | +++
    y, s = com.microsoft.LinearAttention <q_num_heads = 3, kv_num_heads = 3, update_rule = "linear"> (x, x, x)
linear attention asked with the last step | +-- | reads the last of all steps
    shape = Shape (x)  end = Slice (x, minus_1, far, _1)  same = Expand (end, shape)
    y, s = com.microsoft.LinearAttention <q_num_heads = 3, kv_num_heads = 3, update_rule = "linear"> (same, x, x)
the sum that linear attention leaves | +-+ | gives the state after | batch, 3, 1, 1
    a, y = com.microsoft.LinearAttention <q_num_heads = 3, kv_num_heads = 3, update_rule = "linear"> (x, x, x)
linear attention to rows summed up | -++ | reads the rows beside each row
    r = CumSum (x, scalar_0)
    y, s = com.microsoft.LinearAttention <q_num_heads = 3, kv_num_heads = 3, update_rule = "linear"> (x, r, x)
a causal convolution | +++
    @channels  c, s = com.microsoft.CausalConvWithState (t, depthwise)  @back
the steps that a causal convolution leaves | +-+ | keeps the last of | batch, 3, 1
    @channels  c, y = com.microsoft.CausalConvWithState (t, depthwise)
the largest two features | +++ | | batch, sequence, 2
    y, at = TopK <axis = 2> (x, _2)
the largest step | +?? | TopK "a" | batch, 3
    a, at = TopK <axis = 1> (x, _1)  y = Squeeze (a, _1)
sorted rows | ?++ | TopK "y"
    s = Shape <start = 0, end = 1> (x)  y, order = TopK <axis = 0> (x, s)

# Products
a linear map of sums | +-- | sums over all steps | batch, 3
    s = ReduceSum <keepdims = 0> (x, _1)  y = Gemm (s, matrix, ones)
products of rows | ?-- | Gemm "g" | batch, 3
    s = ReduceSum <keepdims = 0> (x, _1)  g = Gemm <transA = 1> (s, s)  y = Gemm (s, g)
attention | +?? | Softmax "w"
    @channels  s = MatMul (x, t)  w = Softmax <axis = -1> (s)  y = MatMul (w, x)
an equation without a result | +++
    y = Einsum <equation = "asi,iz"> (x, matrix)
an equation over rows | ?++ | Einsum "a"
    a = Einsum <equation = "bsi,bsj->sij"> (x, x)  y = Einsum <equation = "bsi,sij->bsj"> (x, a)
an equation with dots | ??? | Einsum "y"
    y = Einsum <equation = "...i,ij->...j"> (x, matrix)
an equation with a diagonal | ??? | Einsum "y"
    a = Einsum <equation = "bsi,bsj->bsij"> (x, x)  y = Einsum <equation = "bsii->bsi"> (a)
scores of earlier steps | +?? | Einsum "y"
    a = Einsum <equation = "bsi,bti->bst"> (x, x)  m = Trilu <upper = 0> (a)
    y = Einsum <equation = "bst,bti->bsi"> (m, x)
a triangle over rows | ??? | Trilu "b"
    a = Transpose <perm = [2, 1, 0]> (x)  b = Trilu <upper = 0> (a)  y = Transpose <perm = [2, 1, 0]> (b)

# Recurrent layers
a backward layer | +-- | runs backward over all steps
    @turned  r = RNN <hidden_size = 3, direction = "reverse"> (t, W, W)  s = Squeeze (r, _1)
    y = Transpose <perm = [1, 0, 2]> (s)
a layer over rows | -++ | reads the rows beside each row
    r = RNN <hidden_size = 3> (x, W, W)  y = Squeeze (r, _1)
the state one step after the lengths | +-+ | gives the state after all steps | batch, 3
    @turned  more = Add (lengths, _1)  n = Cast <to = 6> (more)
    r, end = RNN <hidden_size = 3> (t, W, W, B, n)  y = Squeeze (end, _0)
the state at lengths of at least 1 | +++ | | batch, 3
    @turned  more = Max (lengths, _1)  n = Cast <to = 6> (more)
    r, end = RNN <hidden_size = 3> (t, W, W, B, n)  y = Squeeze (end, _0)
the state at lengths of at least 2 | +?? | RNN "r" | batch, 3
    @turned  more = Max (_2, lengths)  n = Cast <to = 6> (more)
    r, end = RNN <hidden_size = 3> (t, W, W, B, n)  y = Squeeze (end, _0)
steps reversed within the lengths | ++? | ReverseSequence "y"
    y = ReverseSequence <batch_axis = 0, time_axis = 1> (x, lengths)

# Windows
a causal convolution | +++
    @channels  c = Conv <pads = [2, 0], kernel_shape = [3]> (t, kernel_3)  @back
a convolution that reads ahead | +-- | reads 1 steps ahead
    @channels  c = Conv <pads = [1, 1], kernel_shape = [3]> (t, kernel_3)  @back
a convolution with a stride | +?? | Conv "c" | batch, 3
    @channels  c = Conv <strides = [2], pads = [1, 1]> (t, kernel_3)  y = ReduceMean <keepdims = 0> (c, _2)
the largest of the last three steps | +++
    @channels  c = MaxPool <kernel_shape = [3], pads = [2, 0]> (t)  @back
a window that ends one step later | +-- | reads 1 steps ahead
    @channels  c = MaxPool <kernel_shape = [2], auto_pad = "SAME_UPPER"> (t)  @back
a pool over steps with gaps, padded to as many steps | ??? | MaxPool
    @channels  c = MaxPool <kernel_shape = [2], dilations = [2], auto_pad = "SAME_UPPER"> (t)  @back
a pool over all steps | +-- | pools over all steps | batch, 3
    @channels  a = GlobalAveragePool (t)  y = Squeeze (a, _2)
a pool over all features | +++ | | batch, sequence
    u = Unsqueeze (x, _1)  v = Transpose <perm = [0, 2, 1, 3]> (u)  a = GlobalMaxPool (v)  y = Squeeze (a, _2_3)

# Shapes
rows and steps joined and divided again | +++
    f = Reshape (x, any_3)  g = MatMul (f, matrix)  s = Shape (x)  y = Reshape (g, s)
rows and steps joined by Flatten | +++
    a = Flatten <axis = 2> (x)  b = MatMul (a, matrix)  s = Shape (x)  y = Reshape (b, s)
rows and steps exchanged by Reshape | ??? | Reshape "y"
    @turned  s = Shape (x)  y = Reshape (t, s)
axes that Reshape keeps | +++
    a = Reshape (x, _0_0_3_1)  y = ReduceSum <keepdims = 0> (a, _3)
all axes of size 1 removed, perhaps the batch | ??? | Squeeze "y" | batch, sequence
    a = ReduceSum <keepdims = 1> (x, _2)  y = Squeeze (a)
zeros of the same sizes | +++
    s = Shape (x)  z = ConstantOfShape (s)  y = Add (x, z)
the number of values | -?? | reads the number of rows
    n = Size (x)  f = Cast <to = 1> (n)  y = Mul (x, f)
the number of steps | +-- | reads the number of steps
    n = Shape <start = 1, end = 2> (x)  f = Cast <to = 1> (n)  y = Mul (x, f)
the number of rows | -++ | reads the number of rows
    n = Shape <start = 0, end = 1> (x)  f = Cast <to = 1> (n)  y = Div (x, f)
the number of features | +++
    n = Shape <start = 2, end = 3> (x)  f = Cast <to = 1> (n)  y = Div (x, f)
as many columns as rows | ?++ | OneHot "y" | batch, 7
    s = Shape <start = 0, end = 1> (x)  n = Squeeze (s)  y = OneHot (lengths, n, zero_one)

# Parts
equal parts | +++
    a, b, c = Split <axis = 2, num_outputs = 3> (x)  y = Concat <axis = 2> (c, a, b)
every other feature | +++ | | batch, sequence, 2
    y = Slice (x, _0, far, _2, _2)
features rotated | +++
    at = Mod (minus_1, _3)  end = Slice (x, at, _3, _2)  begin = Slice (x, _0, at, _2)
    y = Concat <axis = 2> (end, begin)
steps backwards | +?? | Slice "y"
    y = Slice (x, minus_1, far_back, _1, minus_1)
the last step, padded or not | +-+ | reads the last of all steps | batch, 3
    a = Slice (x, minus_1, far, _1)  y = Squeeze (a, _1)
the first row | ?++ | Slice "a"
    a = Slice (x, _0, _1, _0)  y = Add (x, a)
one step later | +++
    s = Slice (x, _0, minus_1, _1)  y = Pad (s, pad_before)
the last step set to zero after a layer with lengths | +?? | Pad "p"
    @turned  n = Cast <to = 6> (lengths)  r = RNN <hidden_size = 3> (t, W, W, B, n)  l = Squeeze (r, _1)
    s = Slice (l, _0, minus_1, _0)  c = Constant <value_ints = [0, 0, 0, 1, 0, 0]> ()  p = Pad (s, c)
    y = Transpose <perm = [1, 0, 2]> (p)
the last step from elsewhere | +?? | Concat "y"
    s = Slice (x, _0, minus_1, _1)  n = Shape <start = 0, end = 1> (x)  h = Concat <axis = 0> (n, _1, _3)
    z = ConstantOfShape (h)  y = Concat <axis = 1> (s, z)

# Reading and writing by index
numbers of at most three steps, summed | +-- | sums over all steps
    n = Shape <start = 1, end = 2> (x)  m = Min (n, _3)  c = Squeeze (m)  r = Range (scalar_0, c, scalar_1)
    f = Cast <to = 1> (r)  s = ReduceSum <keepdims = 1> (f)  y = Add (x, s)
a row's number added | ?++ | Range "places"
    @places  f = Cast <to = 1> (places)  u = Unsqueeze (f, _1)  v = Unsqueeze (u, _2)  y = Add (x, v)
each row read by its number | +++ | | batch, 3
    @places  ends = Sub (lengths, _1)  u = Unsqueeze (places, _1)  v = Unsqueeze (ends, _1)
    i = Concat <axis = -1> (u, v)  y = GatherND (x, i)
an entry of a table for each row | ?++ | Slice "t"
    s = Shape <start = 0, end = 1> (x)  t = Slice (table, _0, s, _0)  u = Unsqueeze (t, _1)  y = Add (x, u)

# Masks of the lengths, and trimming to the longest row
a masked sum | +?- | ReduceSum "y" | batch, 3
    @steps  @flags  mask = Unsqueeze (inside, _2)  m = Where (mask, x, zero)  y = ReduceSum <keepdims = 0> (m, _1)
a sum under two masks | +?- | ReduceSum "y" | batch, 3
    @steps  @flags  loud = Greater (x, half)  mask = Unsqueeze (inside, _2)  both = And (mask, loud)
    f = Cast <to = 1> (both)  y = ReduceSum <keepdims = 0> (f, _1)
a masked product of what may be infinite | +?- | ReduceSum "y" | batch, 3
    @steps  @flags  mask = Unsqueeze (inside, _2)  f = Cast <to = 1> (mask)  l = Log (x)  m = Mul (l, f)
    y = ReduceSum <keepdims = 0> (m, _1)
a mask one step too long | +-- | sums over all steps | batch, 3
    @steps  row = Unsqueeze (steps, _0)  column = Unsqueeze (lengths, _1)  inside = LessOrEqual (row, column)
    mask = Unsqueeze (inside, _2)  m = Where (mask, x, zero)  y = ReduceSum <keepdims = 0> (m, _1)
a mask the wrong way round | +?- | ReduceSum "y" | batch, 3
    @steps  @flags  mask = Unsqueeze (inside, _2)  m = Where (mask, zero, x)  y = ReduceSum <keepdims = 0> (m, _1)
masked attention | +?- | Softmax "w" | batch, 3
    @steps  @flags  mask = Unsqueeze (inside, _2)  m = Where (mask, x, minus_infinity)  w = Softmax <axis = 1> (m)
    p = Mul (w, x)  y = ReduceSum <keepdims = 0> (p, _1)
trimmed to the longest row | +++
    @trimmed  y = Identity (trimmed)
a mean over what is trimmed | ?-- | ReduceMean "y" | batch, 3
    @trimmed  y = ReduceMean <keepdims = 0> (trimmed, _1)
the last of what is trimmed | ?-+ | Gather "y" | batch, 3
    @trimmed  y = Gather <axis = 1> (trimmed, last)
divided by the longest row | ?++ | ReduceMax "longest"
    longest = ReduceMax <keepdims = 1> (lengths, _0)  f = Cast <to = 1> (longest)  y = Div (x, f)

a convolution that reads past what is trimmed | ??? | Conv "c" | batch, 3
    @trimmed  t = Transpose <perm = [0, 2, 1]> (trimmed)  c = Conv <pads = [0, 2], kernel_shape = [3]> (t, kernel_3)
    y = Gather <axis = 2> (c, scalar_0)

# Branches
a branch chosen by a constant | +++
    y = If (true) <then_branch = t () => (float then) { then = Tanh (x) },
                   else_branch = e () => (float other) { other = Mean (x) }>
a branch chosen by all rows | --- | takes the largest of the rows
    largest = ReduceMax <keepdims = 0> (x)  any = Greater (largest, two)
    y = If (any) <then_branch = t () => (float then) { then = Tanh (x) },
                  else_branch = e () => (float other) { other = Neg (x) }>
a branch that reads other rows | -++ | averages over the rows of the batch
    no = Not (true)
    y = If (no) <then_branch = t () => (float then) { then = Tanh (x) },
                 else_branch = e () => (float other) { m = ReduceMean (x, _0)  other = Sub (x, m) }>

# Loops
a scan over steps | +++
    first = Gather <axis = 1> (x, scalar_0)
    end, y = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
        body = b (float h, float step) => (float next, float out)
        { next = Add (h, step)  out = Identity (next) }> (first, x)
a scan over steps backwards | +-- | runs backward
    first = Gather <axis = 1> (x, scalar_0)
    end, y = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
        scan_input_directions = [1], scan_output_directions = [1],
        body = b (float h, float step) => (float next, float out)
        { next = Add (h, step)  out = Identity (next) }> (first, x)
a scan over steps in both directions | ??? | Scan
    first = Gather <axis = 1> (x, scalar_0)
    end, y = Scan <num_scan_inputs = 2, scan_input_axes = [1, 1], scan_output_axes = [1],
        scan_input_directions = [0, 1],
        body = b (float h, float step, float back) => (float next, float out)
        { a = Add (h, step)  next = Add (a, back)  out = Identity (next) }> (first, x, x)
a scan over steps that mixes rows | -++ | takes the largest of the rows
    first = Gather <axis = 1> (x, scalar_0)
    end, y = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
        body = b (float h, float step) => (float next, float out)
        { a = Add (h, step)  m = ReduceMax (a, _0)  next = Add (a, m)  out = Identity (next) }> (first, x)
a scan over steps with an operator that no rule covers | ??? | /places"
    begin = ReduceSum <keepdims = 0> (x, _1)
    end, y = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
        body = b (float h, float step) => (float next, float out)
        { a = Add (h, step)  places = NonZero (a)  next = Identity (places)  out = Identity (a) }> (begin, x)
a scan over rows that turns their order | ?++ | Scan
    y = Scan <num_scan_inputs = 1, scan_output_directions = [1],
        body = b (float row) => (float out) { out = CumSum (row, scalar_0) }> (x)
a scan over rows that reads the first row | ?++ | Gather
    y = Scan <num_scan_inputs = 1,
        body = b (float row) => (float out) { f = Gather (x, scalar_0)  out = Add (row, f) }> (x)
a scan over rows that reads their mean | -++ | averages over the rows of the batch
    y = Scan <num_scan_inputs = 1, body = b (float row) => (float out)
        { m = ReduceMean (x, _0)  f = Squeeze (m, _0)  out = Add (row, f) }> (x)
a scan over rows that passes a state on | ??? | Scan
    first = Gather (x, scalar_0)
    end, y = Scan <num_scan_inputs = 1, body = b (float h, float row) => (float next, float out)
        { next = Add (h, row)  out = Identity (next) }> (first, x)
"""


@dataclasses.dataclass(frozen=True)
class KnownGraph:
    """A row of the table."""

    name: str
    verdicts: str
    reason: str
    axes: tuple[str | int, ...]
    nodes: str

    @property
    def model(self) -> onnx.ModelProto:
        """The graph."""
        return graph_of(self.nodes)

    @property
    def output(self) -> manifest_pb2.Tensor:
        """The description of y."""
        return described("y", self.axes)

    @functools.cached_property
    def decided(self) -> dict[Property, Decision]:
        """What is decided of y."""
        found = decide(self.model, INPUTS, [self.output])
        return {kind: worst(decisions.values()) for kind, decisions in found.items()}


def _graphs() -> list[KnownGraph]:
    found: list[KnownGraph] = []
    for line in _TABLE.splitlines():
        if line.startswith("    "):
            for name, nodes in _SHARED.items():
                line = line.replace(name, nodes)
            found[-1] = dataclasses.replace(found[-1], nodes=f"{found[-1].nodes} {line}")
        elif line and not line.startswith("#"):
            name, verdicts, reason, axes, *_ = [*map(str.strip, line.split("|")), "", "", ""]
            sizes = [int(axis) if axis.isdecimal() else axis for axis in axes.split(", ") if axis]
            found.append(KnownGraph(name, verdicts, reason, tuple(sizes) or ("batch", "sequence", FEATURES), ""))
    return found


GRAPHS = _graphs()

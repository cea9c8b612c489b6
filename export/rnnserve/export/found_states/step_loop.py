"""A Loop over the steps of a sequence, and the Scan that computes the same: its states are those of a scan."""

import onnx
from onnx import helper

from rnnserve.export.analysis.sizes import named
from rnnserve.export.analysis.values import size_of
from rnnserve.export.found_states.known_graph import KnownGraph
from rnnserve.export.subgraphs import all_nodes

__all__ = ["StepLoop"]

_SAME = ("Identity", "Cast")
_DRAWN = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")


class StepLoop:
    """A Loop node of a graph.

    Attributes:
        body: Its body.
        counts_steps: Whether it runs as often as there are steps, or as a number made of that says.
    """

    def __init__(self, graph: KnownGraph, node: onnx.NodeProto) -> None:
        """Read a node."""
        self._graph, self._node = graph, node
        self.body = next(each.g for each in node.attribute if each.name == "body")
        names = [value.name for value in self.body.input]
        self._number, self._condition, self._states = names[0], names[1], names[2:]
        self._makers = {name: each for each in self.body.node for name in each.output if name}
        self._own = {*self._makers, *names, *(tensor.name for tensor in self.body.initializer)}
        count = graph.values.get(node.input[0]) if node.input[0] else None
        self._sizes = None if count is None else count.sizes
        self.counts_steps = self._sizes is not None and graph.axis in self._sizes[0].made_of

    def same_at_each_step(self) -> list[onnx.NodeProto]:
        """Give the nodes of the body that compute the same at each step, in order."""
        changing = {value.name for value in self.body.input}
        found = []
        for each in self.body.node:
            inner = any(a.type == onnx.AttributeProto.GRAPH for a in each.attribute)
            if inner or each.op_type in _DRAWN or changing.intersection(each.input):
                changing.update(each.output)
            else:
                found.append(each)
        return found

    def obstacle(self) -> str:
        """Say why it is no scan over the steps; empty where it is one."""
        if self._sizes is None or len(self._sizes) != 1 or (self._sizes[0] - named(self._graph.axis)).number != 0:
            return f'runs another number of times than there are steps of "{self._graph.axis}"'
        if not self._goes_on():
            return "may end before the last step, by a condition"
        grown = next(filter(self._grows, range(len(self._states))), None)
        if grown is not None:
            return f'carries "{self._states[grown]}", which grows by each step: a state keeps its size'
        for each in all_nodes(self.body):
            numbers = [name for name in each.input if self._source(name) == self._number]
            if numbers and each.op_type not in _SAME and not self._takes_step(each):
                title = each.name or each.output[0]
                return f'counts its steps from the first one of a request, in {each.op_type} "{title}"'
        given_out = {self._source(value.name) for value in self.body.output[1:]}
        if given_out & {self._number, self._condition}:
            return "gives the number of the step, or whether it goes on, as a result"
        if not any(map(self._takes_step, self.body.node)):
            return "reads no tensor step by step"
        return ""

    def _source(self, name: str) -> str:
        """The name of what a tensor of the body is a copy of."""
        while name in self._makers and self._makers[name].op_type in _SAME:
            name = self._makers[name].input[0]
        return name

    def _goes_on(self) -> bool:
        first = self._graph.values.get(self._node.input[1]) if self._node.input[1] else None
        is_true = first is not None and first.content is not None and bool(first.content.all())
        last = self._source(self.body.output[0].name)
        if self._node.input[1] and not is_true:
            return False
        known = self._graph.values.get(last) if last not in self._own else None
        return last == self._condition or (
            known is not None and known.content is not None and bool(known.content.all())
        )

    def _grows(self, at: int) -> bool:
        maker = self._makers.get(self._source(self.body.output[1 + at].name))
        if maker is not None and maker.op_type == "SequenceInsert":
            return self._listed(at) is None
        return maker is not None and maker.op_type == "Concat" and self._states[at] in map(self._source, maker.input)

    def _listed(self, at: int) -> tuple[str, onnx.NodeProto] | None:
        """Give what is appended at each step to a list that begins empty and is stacked after the loop, and by what."""
        nodes = self._graph.model.graph.node
        maker = self._makers[self._source(self.body.output[1 + at].name)]
        first, last = self._graph.makers.get(self._node.input[2 + at]), self._node.output[at]
        readers = [each for each in nodes if last in each.input]
        is_read_once = [self._states[at] in each.input for each in all_nodes(self.body)].count(True) == 1
        begins_empty = first is not None and first.op_type == "SequenceEmpty"
        if not is_read_once or not begins_empty or len(maker.input) != 2 or len(readers) != 1:
            return None
        (reader,) = readers
        stacks = reader.op_type == "ConcatFromSequence" and _integer(reader, "new_axis") == 1
        return (maker.input[1], reader) if stacks and maker.input[0] == self._states[at] else None

    def _takes_step(self, node: onnx.NodeProto) -> bool:
        """Whether a node of the body takes the step of a tensor of the graph that has the number of the step."""
        if node.op_type != "Gather" or self._source(node.input[1]) != self._number or node.input[0] in self._own:
            return False
        at, value = self._graph.steps_at(node.input[0]), self._graph.values.get(node.input[0])
        if at is None or value is None or value.shape is None or at != _integer(node, "axis") % value.rank:
            return False
        return (size_of(value.shape[at]) - named(self._graph.axis)).number == 0 and node in self.body.node

    def scan(self) -> tuple[onnx.NodeProto, dict[str, onnx.NodeProto]]:
        """Give the same as a Scan; and by name of its result, what takes the place of a node that stacks a list."""
        body = onnx.GraphProto(name=self.body.name, initializer=self.body.initializer)
        scanned: list[str] = []
        taken: list[onnx.ValueInfoProto] = []
        numbers = {name for name in self._makers if self._source(name) == self._number}
        inserted = {self._source(self.body.output[1 + at].name) for at in range(len(self._states)) if self._is_list(at)}
        for each in self.body.node:
            if self._takes_step(each):
                step = onnx.ValueInfoProto(name=f"{each.output[0]}/step")
                step.type.tensor_type.elem_type = self._graph.element_types.get(each.input[0], 0)
                taken.append(step)
                scanned.append(each.input[0])
                body.node.append(helper.make_node("Identity", [step.name], [each.output[0]], name=each.name))
            elif each.output[0] not in numbers and each.output[0] not in inserted:
                body.node.append(each)
        if any(self._condition in each.input for each in all_nodes(body)):
            body.initializer.append(helper.make_tensor(self._condition, onnx.TensorProto.BOOL, [], [True]))
        lists = {at: self._listed(at) for at in range(len(self._states)) if self._is_list(at)}
        states = [at for at in range(len(self._states)) if at not in lists]
        stacks = [each for each in lists.values() if each is not None]
        each_step = range(len(self._states), len(self._node.output))
        body.input.extend([self.body.input[2 + at] for at in states] + taken)
        body.output.extend(self._untyped(self.body.output[1 + at]) for at in (*states, *each_step))
        body.output.extend(onnx.ValueInfoProto(name=piece) for piece, _ in stacks)
        output_axes = [*(0 for _ in each_step), *(_integer(reader, "axis") for _, reader in stacks)]
        made = helper.make_node(
            "Scan",
            [*(self._node.input[2 + at] for at in states), *scanned],
            [*(self._node.output[at] for at in (*states, *each_step)), *(f"{r.output[0]}/steps" for _, r in stacks)],
            name=self._node.name,
            body=body,
            num_scan_inputs=len(scanned),
            scan_input_axes=[self._graph.steps_at(name) or 0 for name in scanned],
        )
        if output_axes:
            made.attribute.append(helper.make_attribute("scan_output_axes", output_axes))
        copies = {r.output[0]: helper.make_node("Identity", [f"{r.output[0]}/steps"], [r.output[0]]) for _, r in stacks}
        return made, copies

    def _is_list(self, at: int) -> bool:
        return self.body.input[2 + at].type.HasField("sequence_type") or (
            (maker := self._makers.get(self._source(self.body.output[1 + at].name))) is not None
            and maker.op_type == "SequenceInsert"
        )

    @staticmethod
    def _untyped(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
        """Give a result of a body without a shape, which may be wrong for a scan."""
        result = onnx.ValueInfoProto(name=value.name)
        result.type.tensor_type.elem_type = value.type.tensor_type.elem_type
        return result


def _integer(node: onnx.NodeProto, name: str) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), 0)

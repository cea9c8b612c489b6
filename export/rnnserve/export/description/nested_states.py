"""How a module's forward is called where its states are nested, or in its attributes: through a wrapper.

The module is run a few times, which tells the tensors of each state, their axes and their beginnings. From then on it
is a module whose states are inputs and outputs like any other's.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from rnnserve.export.description.forward_parameters import ForwardParameters, read_parameters
from rnnserve.export.description.grouped_tensors import kinds_of_groups
from rnnserve.export.description.input_descriptions import DYNAMIC, Floats, InputDescription
from rnnserve.export.description.made_inputs import with_made_inputs
from rnnserve.export.description.publication import InputDescriptions, Publication
from rnnserve.export.description.state_probing import (
    Begin,
    Probe,
    ProbedState,
    beginnings,
    call,
    describe_leaves,
    probed_states,
    probing_sizes,
)
from rnnserve.export.description.state_trees import StateTree, Tree, filled, leaves
from rnnserve.export.description.state_wrapper import (
    AttributeState,
    TreeInput,
    TreeOutput,
    WithStates,
    attribute,
)
from rnnserve.export.errors import WrongArguments
from rnnserve.export.module_interface import Parameter, flatten_results
from rnnserve.protos.protocol_words import BATCH

__all__ = ["ReadForward", "read_forward"]

Outputs = Sequence[str] | Mapping[str, InputDescription]


@dataclasses.dataclass(frozen=True)
class ReadForward:
    """How a module is called, and the names of what it gives.

    Attributes:
        forward: How it is called.
        outputs: The names of all results, with descriptions where there are such.
        states: Which output continues as which input.
    """

    forward: ForwardParameters
    outputs: Outputs
    states: dict[str, str]


@dataclasses.dataclass(frozen=True)
class _State:
    """A state that has been looked at: its structure, its tensors by input name, the first one's axis of rows."""

    tree: Tree
    described: Mapping[str, InputDescription]
    rows: int

    def renamed(self, name: str, output: str) -> list[tuple[str, str]]:
        """Give the names of its tensors as outputs and inputs: "state_n.0.c", "state.0.c"."""
        return [(output + tensor.removeprefix(name), tensor) for tensor in self.described]


def read_forward(module: nn.Module, publication: Publication) -> ReadForward:
    """Read how a module is called: its parameters, and the tensors of its states, wherever these are.

    Args:
        module: The module: not compiled, in evaluation mode.
        publication: Publication of it.

    Raises:
        WrongArguments: If the description does not fit; the message says where.
    """
    given = publication.inputs if isinstance(publication.inputs, Mapping) else {}
    trees = {name: what for name, what in given.items() if isinstance(what, StateTree)}
    attributes = _attributes(module, publication)
    if not trees and not attributes:
        return ReadForward(
            _made(module, publication.inputs, publication), publication.outputs, dict(publication.states)
        )
    outputs = _checked_outputs(publication, trees)
    held = {name: Floats(BATCH) if name in trees else what for name, what in given.items()}
    probe = Probe(
        forward=_made(module, held, publication),
        trees=trees,
        outputs=list(outputs),
        states={initial: final for final, initial in publication.states.items()},
        attributes=list(attributes),
        sizes=publication.sizes,
        owner=module,
    )
    return _wrapped(publication, probe, attributes, _find(probe, attributes))


def _made(module: nn.Module, inputs: InputDescriptions, publication: Publication) -> ForwardParameters:
    """Give what takes the model's inputs: the module, or what makes its arguments of them."""
    forward = read_parameters(module, inputs, publication.constants)
    kinds = kinds_of_groups(module, forward, publication.sizes)
    return with_made_inputs(forward, publication.constants, kinds)


def _attributes(module: nn.Module, publication: Publication) -> dict[str, InputDescription | StateTree]:
    """Give the attributes that hold states, with what is said of each.

    Raises:
        WrongArguments: If there is no such module, or a name is taken.
    """
    given = publication.state_attributes
    if isinstance(given, str):
        raise WrongArguments(f'state_attributes is "{given}"; expected a list of names: ["{given}"]')
    attributes: dict[str, InputDescription | StateTree] = {}
    attributes |= given if isinstance(given, Mapping) else {path: StateTree() for path in given}
    for path in attributes:
        owner = path.rpartition(".")[0]
        try:
            held = attribute(module, path)
        except AttributeError as error:
            raise WrongArguments(f'state_attributes names "{path}", but the module has no "{owner}"') from error
        if isinstance(held, nn.Parameter | nn.Module):
            raise WrongArguments(
                f'state_attributes names "{path}", which is a {type(held).__name__}; a state is a tensor, a buffer, or '
                "a tree of tensors that forward replaces or writes to"
            )
        if path in publication.inputs or f"{path}_n" in publication.outputs:
            raise WrongArguments(f'the attribute "{path}" becomes the input "{path}" and the output "{path}_n": rename')
    return attributes


def _checked_outputs(publication: Publication, trees: Mapping[str, StateTree]) -> Outputs:
    outputs = publication.outputs
    if isinstance(outputs, str) or not all(isinstance(name, str) for name in outputs):
        raise WrongArguments(f"outputs is {outputs!r}; expected the name of each tensor or state that forward returns")
    if trees and isinstance(outputs, Mapping):
        raise WrongArguments('outputs describes tensors; with a StateTree among the inputs, give names: ["y", "h_n"]')
    continued = list(publication.states.values())
    for name in trees:
        finals = [final for final, initial in publication.states.items() if initial == name]
        if len(finals) != 1 or finals[0] not in outputs:
            raise WrongArguments(
                f'inputs["{name}"] is a StateTree, but states says {dict(publication.states)}; expected the one output '
                f'that continues it: {{"{name}_n": "{name}"}}'
            )
    twice = [name for name in continued if continued.count(name) > 1]
    if twice:
        raise WrongArguments(f"states: two outputs continue as one input: {dict(publication.states)}")
    return outputs


def _find(probe: Probe, attributes: Mapping[str, InputDescription | StateTree]) -> dict[str, _State]:
    """Look at each state in every way in which the rows may lie in the examples; one way has to fit."""
    said: dict[str, StateTree] = {
        **probe.trees,
        **{path: what if isinstance(what, StateTree) else StateTree() for path, what in attributes.items()},
    }
    found: list[dict[str, _State]] = []
    failed: Exception | None = None
    for begin in _ways(probe, said):
        if found and begin.keys() & attributes.keys():
            break  # it runs with its attributes as they are
        try:
            probed = probed_states(probe, begin)
            states = {name: _State(*describe_leaves(name, said[name], state)) for name, state in probed.items()}
        except Exception as error:  # noqa: BLE001 - whatever the user's module raises
            if failed is None or isinstance(error, WrongArguments):
                failed = error
            continue
        if all(_axes(states) != _axes(other) for other in found):
            _check_none(probe, begin, probed)
            found.append(states)
    if len(found) == 1:
        return found[0]
    if found:
        raise WrongArguments(
            f"the example of {', '.join(probe.trees)} does not tell which axes have the rows: {len(found)} ways run. "
            "Give an example of another number of rows, or a function of it: StateTree(lambda rows: …)"
        )
    if isinstance(failed, WrongArguments):
        raise failed
    raise WrongArguments(
        f"forward does not run with the states {', '.join([*probe.trees, *attributes])} as described: "
        f"{type(failed).__name__}: {failed}"
    ) from failed


def _ways(probe: Probe, said: Mapping[str, StateTree]) -> Iterator[dict[str, Begin]]:
    """Give beginnings of all states: with attributes as they are, and then with rows of what they hold."""
    options = {name: beginnings(name, said[name]) for name in probe.trees}
    options |= {path: beginnings(path, said[path]) for path in probe.attributes if said[path].example is not None}
    for way in itertools.product(*options.values()):
        yield dict(zip(options, way, strict=True))
    held = {path: attribute(probe.owner, path) for path in probe.attributes if path not in options}
    held = {path: tree for path, tree in held.items() if any(isinstance(leaf, Tensor) for _, leaf in leaves(tree))}
    if not held:
        return
    options |= {path: beginnings(path, StateTree(tree)) for path, tree in held.items()}
    for way in itertools.product(*options.values()):
        yield dict(zip(options, way, strict=True))


def _axes(states: Mapping[str, _State]) -> list[object]:
    return [(name, what.axes) for state in states.values() for name, what in state.described.items()]


def _check_none(probe: Probe, begin: Mapping[str, Begin], probed: Mapping[str, ProbedState]) -> None:
    """Check that zeros mean the same where an example has None.

    Raises:
        WrongArguments: If they do not.
    """
    sizes = next(iter(probing_sizes(probe)))
    before = {name: at(sizes[BATCH]) for name, at in begin.items()}
    having_none = {
        name: tree
        for name, tree in before.items()
        if name in probe.trees and probe.trees[name].initial is None
        if tree is not None and any(leaf is None for _, leaf in leaves(tree))
    }
    if not having_none:
        return
    zeros = {name: _with_zeros(tree, probed[name].after[0]) for name, tree in having_none.items()}
    # Beginnings are made again: forward may have written to them.
    again = {name: at(sizes[BATCH]) for name, at in begin.items()}
    one, other = (flatten_results(call(probe, states, sizes)[0]) for states in (again, {**before, **zeros}))
    if len(one) != len(other) or not all(
        torch.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True) for a, b in zip(one, other, strict=True)
    ):
        raise WrongArguments(
            f"the example of {', '.join(having_none)} has None, and zeros in its place give other results: give "
            "tensors that mean the beginning"
        )


def _with_zeros(tree: Tree, after: Tree) -> Tree:
    shapes = filled(after, lambda _, leaf: torch.zeros_like(leaf) if isinstance(leaf, Tensor) else leaf)
    begins = {path: leaf for path, leaf in leaves(tree) if isinstance(leaf, Tensor)}
    return filled(shapes, lambda path, leaf: begins[path].clone() if path in begins else leaf)


def _wrapped(
    publication: Publication,
    probe: Probe,
    attributes: Mapping[str, InputDescription | StateTree],
    found: Mapping[str, _State],
) -> ReadForward:
    forward = probe.forward
    tuples = {name: tuple(found[name].described) for name in probe.trees}
    of_parameter = {tuples[name]: TreeInput(found[name].tree, found[name].rows) for name in probe.trees}
    described: dict[str, InputDescription] = {}
    for name, what_is in forward.described.items():
        described |= found[name].described if name in tuples else {name: what_is}

    def as_passed(parameter: Parameter) -> Parameter:
        return tuples.get(parameter, parameter) if isinstance(parameter, str) else parameter

    defaults = {as_passed(parameter): value for parameter, value in forward.defaults.items()}
    passed = [as_passed(parameter) for parameter in forward.parameters]
    parameters = list(passed)
    states = {final: initial for final, initial in publication.states.items() if initial not in probe.trees}
    finals = {probe.states[name]: name for name in probe.trees}
    results: list[str | TreeOutput] = [
        TreeOutput(name, found[finals[name]].tree) if name in finals else name for name in publication.outputs
    ]
    outputs: dict[str, InputDescription | None] = {}
    for name in publication.outputs:
        pairs = found[finals[name]].renamed(finals[name], name) if name in finals else []
        states |= dict(pairs)
        given = publication.outputs[name] if isinstance(publication.outputs, Mapping) else None
        outputs |= {final: None for final, _ in pairs} if pairs else {name: given}
    for path, what in attributes.items():
        state = found[path]
        own = _own(path, what, state)
        parameters.append(path if list(own) == [path] else tuple(own))
        described |= own
        defaults[parameters[-1]] = None
        pairs = state.renamed(path, f"{path}_n")
        states |= dict(pairs)
        outputs |= {final: own[initial] for final, initial in pairs}
    wrapper = WithStates(
        forward.module,
        [of_parameter.get(parameter) if isinstance(parameter, tuple) else None for parameter in passed],
        results,
        [AttributeState(path, found[path].tree, found[path].rows) for path in attributes],
    )
    every = {name: what for name, what in outputs.items() if what is not None}
    return ReadForward(
        ForwardParameters(wrapper, tuple(parameters), described, defaults),
        every if isinstance(publication.outputs, Mapping) else list(outputs),
        states,
    )


def _own(path: str, what: InputDescription | StateTree, state: _State) -> dict[str, InputDescription]:
    """The descriptions of an attribute's tensors: the user's own where there is one."""
    if isinstance(what, StateTree):
        return dict(state.described)
    found = state.described.get(path)
    if found is None or len(state.described) > 1:
        raise WrongArguments(f'the attribute "{path}" holds a tree of tensors: describe it by StateTree()')
    if [size for _, size in found.axes] != [size for _, size in what.axes] or found.dtype != what.dtype:
        raise WrongArguments(
            f'state_attributes["{path}"] describes {what.dtype} {[a if s == DYNAMIC else s for a, s in what.axes]}; '
            f"forward writes {found.dtype} {[a if s == DYNAMIC else s for a, s in found.axes]}"
        )
    return {path: what}

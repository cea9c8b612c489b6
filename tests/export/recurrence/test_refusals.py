"""What cannot be exported right is refused, and the message says what, where and why."""

import math
import re
import warnings

import pytest
import torch
from torch import nn
from torch.distributions import Normal
from torch.nn.utils.rnn import (
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    unpack_sequence,
    unpad_sequence,
)

from rnnserve.export import UnsupportedModule, export_onnx

AXES = {0: "batch", 1: "sequence"}


def of(forward, make=lambda: nn.LSTM(3, 4, 2, batch_first=True), **members):
    """A module with one recurrent layer, `encoder.rnn`, and the forward given."""

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleDict({"rnn": make()})
            for name, member in members.items():
                setattr(self, name, member)

        @property
        def rnn(self):
            return self.encoder["rnn"]

        forward = None

    Module.forward = forward
    return Module().eval()


def plain(self, input):
    return self.rnn(input)[0]


def with_lengths(expression):
    def forward(self, input, lengths):
        return pad_packed_sequence(self.rnn(expression(input, lengths))[0], batch_first=True)[0]

    return forward


def cell_in_a_loop(self, input):
    """Loops in another way than with `for` or a counter: what is written so becomes a scan."""
    h, hidden = input.new_zeros(input.size(0), 4), []
    while len(hidden) < input.size(1):
        h = self.cell(input[:, len(hidden)], h)
        hidden.append(h)
    return torch.stack(hidden, 1)


def of_one_batch(self, input):
    return self.rnn(input)[0] + self.offsets


def remembers(self, input):
    output, self.state = self.rnn(input, self.state)
    return output


def counts(self, input):
    self.count += 1
    return self.rnn(input)[0] * self.count


def branches(self, input):
    return self.rnn(input if input.shape[1] > 3 else input * 2)[0]


def even_or_odd(self, input):
    return self.rnn(input * 2 if input.shape[1] % 2 else input)[0]


def one_row(self, input):
    if input.size(0) == 1:
        return self.rnn(input * 2)[0]
    return self.rnn(input)[0]


def until_done(self, input):
    h, outputs = self.rnn(input)[1][0], []
    for _ in range(5):
        h = torch.tanh(h)
        outputs.append(h)
        if (h.abs() < 0.1).all():
            break
    return torch.stack(outputs, 1)


def squeezes(self, input):
    return self.rnn(input)[1][0].squeeze()


def noisy(self, input):
    return self.rnn(input, (torch.randn(2, input.size(0), 4), torch.zeros(2, input.size(0), 4)))[0]


def by_value(self, input):
    if input.sum() > 0:
        self.total = input.sum()
    return self.rnn(input)[0]


def of_its_batch(self, input):
    """Keeps a state as long as the batch stays as large."""
    kept = self.state if self.state is not None and self.state[0].size(1) == input.size(0) else None
    output, self.state = self.rnn(input, kept)
    return output


def drops_weights(self, x):
    """Weight dropout as AWD-LSTM has it; in evaluation mode it drops nothing."""
    self.rnn.weight_hh_l0.data = nn.functional.dropout(self.raw, 0.5, self.training).data
    return self.rnn(x)[0]


def quantised_linear():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.nn.quantized.Linear(3, 4)


def scripted(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


PLAIN = {
    "unbatched": (of(lambda self, x: self.rnn(x[0])[0]), r"`encoder\.rnn` \(LSTM\) got an input of 2 axes.*unsqueeze"),
    "features": (of(lambda self, x: self.rnn(x[..., :2])[0]), r"`encoder\.rnn`.*2 features; expected.*3 features"),
    "four axes": (of(lambda self, x: self.rnn(x[None])[0]), r"`encoder\.rnn`.*4 axes"),
    "state of another size": (
        of(lambda self, x: self.rnn(x, (x.new_zeros(1, x.size(0), 4),) * 2)[0]),
        r"`encoder\.rnn` \(LSTM\) got h_0 .*expected \(layers \* directions, batch, hidden\) = \(2,",
    ),
    "state, batch first": (
        of(lambda self, x: self.rnn(x, (x.new_zeros(x.size(0), 2, 4),) * 2)[0]),
        r"`encoder\.rnn`.*also where the input is batch-first",
    ),
    "state of a projection": (
        of(lambda self, x: self.rnn(x, (x.new_zeros(1, x.size(0), 4),) * 2)[0], lambda: nn.LSTM(3, 4, proj_size=2)),
        r"`encoder\.rnn` \(LSTM\) got h_0 .*expected \(layers \* directions, batch, proj_size\) = \(1,.*, 2\)",
    ),
    "state of a function": (
        of(lambda self, x: torch.lstm(x, (x, x), self.rnn._flat_weights, True, 2, 0.0, False, False, True)[0]),
        r"torch\.lstm.*got h_0 .*expected \(layers \* directions, batch, hidden\) = \(2,.*, 4\)",
    ),
    "weights of a function": (
        of(lambda self, x: torch.lstm(x, (x, x), self.rnn._flat_weights[:7], True, 2, 0.0, False, False, True)[0]),
        r"torch\.lstm.*7 weights for 2 layers.*weight_hr",
    ),
    "one state for LSTM": (of(lambda self, x: self.rnn(x, x.new_zeros(2, x.size(0), 4))[0]), r"pair \(h_0, c_0\)"),
    "float64": (
        of(lambda self, x: self.rnn(x.double())[0], lambda: nn.GRU(3, 4).double()),
        r"`encoder\.rnn` \(GRU\).*64",
    ),
    "bfloat16": (
        of(lambda self, x: self.rnn(x.bfloat16())[0], lambda: nn.GRU(3, 4).bfloat16()),
        r"holds torch\.bfloat16.*float32 and float16 only",
    ),
    "input of another dtype": (of(lambda self, x: self.rnn(x.double())[0]), r"torch\.float64; its weights"),
    "one batch": (
        of(of_one_batch, offsets=nn.Parameter(torch.zeros(3, 1, 4))),
        r'"batch"\) cannot be dynamic.*the sample\'s 3 rows \(at test_refusals\.py:\d+, .*self\.offsets.*\)(?!.*scan)',
    ),
    "one batch in an attribute": (
        of(
            lambda self, x: self.rnn(x)[0] + torch.zeros(self.batch_size, 1, 4),
            batch_size=3,
            scale=torch.ones(2, 2),
        ),
        r"the sample\'s 3 rows.*`batch_size`(?!.*scan)",
    ),
    "cell in a loop": (of(cell_in_a_loop, cell=nn.RNNCell(3, 4)), r'axis 1 of.*"sequence".*`cell`.*loop'),
    "branch on size": (of(branches), r"condition on sizes \(at test_refusals\.py:\d+\)"),
    "even or odd": (of(even_or_odd), r"condition on sizes \(at test_refusals\.py:\d+\)"),
    "a way for one row": (of(one_row), r'takes another path at "batch" 1'),
    "squeeze": (of(squeezes), r"squeeze\(0\)"),
    "noise": (of(noisy), r"random numbers: aten::randn"),
    "an array of values": (
        of(lambda self, x: self.rnn(x)[0] * float(x.sum().numpy())),
        r"depends on the values.*test_refusals\.py:\d+",
    ),
    "branch on value": (of(by_value), r"depends on the values.*test_refusals\.py:\d+"),
    "a length of its own": (
        of(until_done),
        r"at test_refusals\.py:\d+\), 'if .*ends a loop.*number of steps of each row",
    ),
    "attribute written": (of(remembers, state=None), r"keeps \['state'\] from one call to the next"),
    "state of a batch": (of(of_its_batch, state=None), r"keeps \['state'\].*states=\{\"h_n\": \"h_0\"\}"),
    "log of a size": (
        of(lambda self, x: self.rnn(x)[0] - math.log(x.size(1))),
        r"plain number \(for math\.log\(n\) write torch\.log\(torch\.tensor\(n\)\)",
    ),
    "window of a size": (
        of(lambda self, x: self.rnn(x * torch.hann_window(x.size(1))[:, None])[0]),
        r"torch\.arange\(n\)",
    ),
    "chunks of steps": (
        of(lambda self, x: torch.stack([part.amax(1) for part in self.rnn(x)[0].chunk(2, 1)], 1)),
        r'"sequence" 1.*axis 1 is 1 there, not 2.*chunk and split.*sizes=\{"batch": .*"sequence": ',
    ),
    "entropy": (
        of(lambda self, x: torch.distributions.Categorical(logits=self.rnn(x)[0], validate_args=True).entropy()),
        r"^a distribution of torch\.distributions \(at test_refusals\.py:\d+\).*validate_args=False",
    ),
    "log density": (
        of(lambda self, x: Normal(self.rnn(x)[0], self.rnn(x)[0].exp(), validate_args=True).log_prob(x[..., :1])),
        r"^a distribution of torch\.distributions \(at test_refusals\.py:\d+\).*validate_args=False",
    ),
    "buffer written": (
        of(counts, count=nn.Buffer(torch.zeros(()))),
        r"keeps \['count'\].*state_attributes=\['count'\]",
    ),
    "functional, packed": (
        of(lambda _, x: torch.lstm(x[0], torch.tensor([1] * 4), (x, x), [], True, 1, 0.0, False, False)[0]),
        r"torch\.lstm.*PackedSequence",
    ),
    "a weight set in the forward": (
        of(drops_weights, raw=nn.Parameter(torch.randn(16, 4))),
        r"puts what it computes in the place of a parameter, as weight\.data = … does.*functional_call",
    ),
    "quantised layer": (
        of(plain, quantised_linear),
        r"`encoder\.rnn` is a quantised module \(torch\.ao\.nn\.quantized\..*before quantisation",
    ),
    "scripted layer": (
        of(plain, lambda: scripted(nn.LSTM(3, 4, batch_first=True))),
        r"`encoder\.rnn` is a TorchScript",
    ),
}


LENGTHS = {
    "list": (
        with_lengths(lambda x, _: pack_padded_sequence(x, [4, 2, 1], True)),
        r"lengths as a list.*constants of the file",
    ),
    "tolist": (with_lengths(lambda x, n: pack_padded_sequence(x, n.tolist(), True)), r"tolist"),
    "constant tensor": (
        with_lengths(lambda x, _: pack_padded_sequence(x, torch.tensor([4, 2, 1]), True)),
        r"fixed size 3.*batch axis is dynamic",
    ),
    "lengths of two axes": (
        with_lengths(lambda x, n: pack_padded_sequence(x, n[:, None], True)),
        r"expected \(batch,\)",
    ),
    "lengths of floats": (with_lengths(lambda x, n: pack_padded_sequence(x, n.float(), True)), r"dtype torch\.float32"),
    "pack_sequence": (with_lengths(lambda x, _: pack_sequence([x[0], x[1]])), r"pack_sequence.*constants of the file"),
    "unpack_sequence": (
        lambda self, x, n: unpack_sequence(self.rnn(pack_padded_sequence(x, n, True, False))[0]),
        r"unpack_sequence",
    ),
    "unpad_sequence": (lambda _, x, n: unpad_sequence(x, n, batch_first=True), r"unpad_sequence"),
    "packed result": (lambda self, x, n: self.rnn(pack_padded_sequence(x, n, True, False))[0], r"PackedSequence"),
}


def export(module, args, shapes, outputs=1):
    names = [f"input_{number}" for number in range(len(args))]
    results = [f"output_{number}" for number in range(outputs)]
    return export_onnx(module, args, input_names=names, output_names=results, dynamic_shapes=shapes)


@pytest.mark.parametrize("case", PLAIN)
def test_refused(case, capfd):
    module, message = PLAIN[case]
    with pytest.raises(UnsupportedModule, match=re.compile(message, re.DOTALL)):
        export(module, (torch.randn(3, 4, 3),), (AXES,))
    assert "".join(capfd.readouterr()) == ""  # torch prints the graph that it could not capture


@pytest.mark.parametrize("case", LENGTHS)
def test_refused_with_lengths(case):
    forward, message = LENGTHS[case]
    with pytest.raises(UnsupportedModule, match=re.compile(message, re.DOTALL)):
        export(of(forward), (torch.randn(3, 4, 3), torch.tensor([4, 2, 1])), (AXES, {0: "batch"}))


def test_list_of_lengths_is_right_for_a_fixed_batch():
    program = export(
        of(with_lengths(lambda x, _: pack_padded_sequence(x, [4, 2, 1], True))),
        (torch.randn(3, 4, 3), torch.tensor([4, 2, 1])),
        (None, None),
    )
    assert [node.op_type for node in program.model_proto.graph.node].count("LSTM") == 2


@pytest.mark.parametrize("make", [lambda: nn.GRU(3, 4, 2, dropout=0.5, batch_first=True), lambda: nn.Dropout(0.5)])
def test_dropout_that_is_on_is_refused(make):
    module = nn.Sequential(make())
    with pytest.raises(UnsupportedModule, match=r"\.eval\(\)"):
        export(module.train(), (torch.randn(3, 4, 3),), (AXES,), 2)
    assert module.training


def test_batch_norm_in_training_mode_is_refused():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)
            self.rnn = nn.RNN(3, 4, batch_first=True)

        def forward(self, input):
            return self.rnn(self.norm(input.transpose(1, 2)).transpose(1, 2))[0]

    before = (module := Normalised()).norm.running_mean.clone()
    with pytest.raises(UnsupportedModule, match=r"buffers.*\.eval\(\)"):
        export(module, (torch.randn(3, 4, 3),), (AXES,))
    assert torch.equal(module.norm.running_mean, before)


def test_what_eager_refuses_at_other_sizes_is_no_reason_to_refuse():
    class Long(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv1d(3, 3, 3)
            self.rnn = nn.RNN(3, 4, batch_first=True)

        def forward(self, input):
            if input.size(1) < 3:
                raise ValueError("too short")
            return self.rnn(self.convolution(input.transpose(1, 2)).transpose(1, 2))[0]

    outputs = export(Long().eval(), (torch.randn(3, 6, 3),), (AXES,)).model.graph.outputs
    assert str(outputs[0].shape[1]) == "sequence - 2"

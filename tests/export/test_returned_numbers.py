"""A forward that returns numbers of Python is refused in one sentence, with the line that makes them of a tensor."""

import pytest
from torch import nn

from rnnserve.export import Floats, WrongArguments, publish


def decoded(scores):
    """Best labels of each row, as decoders of packages give them."""
    return [[label.item() for label in row.argmax(-1)] for row in scores]


RETURNS = {
    "lists of items": (
        decoded,
        r"an int of Python, .* with \.item\(\) \(at test_ret\S+\.py:11, '.*'\)",
    ),
    "tolist": (lambda scores: scores.argmax(-1).tolist(), r"an int of Python, .* with \.tolist\(\) \(at test_ret"),
    "an array": (lambda scores: scores.argmax(-1).numpy(), r"an array of numpy, int64, .* with \.numpy\(\) \(at "),
    "a number beside": (lambda scores: (scores, float(scores.max())), r"a float of Python, .* with float\(\) \(at "),
    "a number of no tensor": (lambda scores: (scores, 3), r"an int of Python, but a model returns only tensors\. Keep"),
    "a text": (
        lambda scores: (scores, "best"),
        r"a str of Python, .* only tensors\. Return tensors, in tuples",
    ),
}


class Deciding(nn.Module):
    def __init__(self, decide):
        super().__init__()
        self.rnn, self.decide = nn.GRU(3, 5, batch_first=True), decide

    def forward(self, x):
        return self.decide(self.rnn(x)[0])


@pytest.mark.parametrize("case", RETURNS)
def test_it_is_refused_with_the_line_that_makes_them(case, tmp_path, capsys):
    decide, said = RETURNS[case]
    inputs = {"x": Floats("batch", "sequence", 3)}
    with pytest.raises(WrongArguments, match=said) as raised:
        publish(Deciding(decide).eval(), "m", repository=tmp_path, inputs=inputs, outputs=["y"], progress=False)
    assert "\n" not in str(raised.value)
    assert "".join(capsys.readouterr()) == ""
    assert list(tmp_path.iterdir()) == []

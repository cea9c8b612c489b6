"""A forward that returns Python numbers is refused in one sentence, with the call that likely made them."""

import pytest
from torch import nn

from rnnserve.export import Floats, WrongArguments, publish


def decoded(scores):
    """Return the best labels of each row as Python lists, as decoders of packages do."""
    return [[label.item() for label in row.argmax(-1)] for row in scores]


RETURNS = {
    "lists of items": (decoded, r"an int of Python, .* Does forward call \.item\(\), .* Keep it a tensor"),
    "an array": (lambda scores: scores.argmax(-1).numpy(), r"an array of numpy, int64, .* \.numpy\(\)"),
    "a number beside": (lambda scores: (scores, float(scores.max())), r"a float of Python, .* float\(\)\? Keep"),
    "a text": (lambda scores: (scores, "best"), r"a str of Python, .* only\. Return tensors, in tuples, dicts or"),
}


class Deciding(nn.Module):
    def __init__(self, decide):
        super().__init__()
        self.rnn, self.decide = nn.GRU(3, 5, batch_first=True), decide

    def forward(self, x):
        return self.decide(self.rnn(x)[0])


@pytest.mark.parametrize("case", RETURNS)
def test_results_that_are_not_tensors_are_refused_with_the_likely_call(case, tmp_path, capsys):
    decide, said = RETURNS[case]
    inputs = {"x": Floats("batch", "sequence", 3)}
    with pytest.raises(WrongArguments, match=said) as raised:
        publish(Deciding(decide).eval(), "m", repository=tmp_path, inputs=inputs, outputs=["y"], progress=False)
    assert "\n" not in str(raised.value)
    assert "".join(capsys.readouterr()) == ""
    assert list(tmp_path.iterdir()) == []

"""Complex numbers of a captured program, written as pairs of real ones: ONNX's operators have no others.

In: a captured program. Out: the same program, in which each complex tensor is two real ones; only Fourier transforms
have complex ones beside them, which torch.onnx translates. `pairs` builds the nodes, `rules` has what each operator is
in reals, and `rewriting` goes through the program.

Door: `__all__`.
"""

from rnnserve.export.recurrence.complex_numbers.rewriting import write_complex_in_reals

__all__ = ["write_complex_in_reals"]

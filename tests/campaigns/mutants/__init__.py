"""Mutants: change the product in one place at a time, and see which changes no test notices.

`drawn.json` holds a sample of mutants over all areas, drawn with a fixed seed. Judge it before and after a change of
the tests, with `--out`, to see what the change lost; draw it anew when too many of its lines are gone.

What was found on the sample of issue 37: the suite before it noticed 28 of the 53 mutants that were tried, and the one
after it the same 28, all of them in the core. Of all 150, the suite after it noticed 126, 3 of them in `tests/full`
alone, and missed 24.
"""

"""Mutants: change the product in one place at a time, and see which changes no test notices.

`drawn.json` holds a sample of mutants over all areas, drawn once with a fixed seed. `results/` holds, for each suite
that was judged, which of them it killed. The same sample before and after a change of the tests shows what the change
lost.
"""

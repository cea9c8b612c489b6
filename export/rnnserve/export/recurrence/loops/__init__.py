"""Loops over steps in the user's own code, captured as scans: no word of the user is needed, and no file is changed.

`functions` finds the functions of a module, and lets them run as `rewriting` writes them, which reads their source and
`names` of variables (`code_objects` tells whether the source is what runs, `counted` makes a for loop of a while loop,
and `leaving` finds what leaves a loop). What a rewritten function calls is in `hooks`. `captured_loop` runs the body of
one loop until `loop_state` has all that it carries (`memory`, `carried`), reads (`sequences`) and writes (`step_pass`),
and makes one scan of it. `steps` are what loops run over, `step_index` is the number of a step, `step_list` a list that
a loop fills (`item_changes` is what a step sets in one that holds all steps), and `step_functions` are torch's
functions on them. `symbolic_sizes` says what is certain of a dynamic size; `refused` is the refusal of a loop, with its
line. `value_checks` leaves checks of values out, and `value_branches` lets both sides of branches on values run, of
which `choices` chooses; `places` finds both.

The package is a part of `rnnserve.export.recurrence`, and imports of it what `scan` imports.

Door: `functions`, `names`, `refused`, `rewriting`.
"""

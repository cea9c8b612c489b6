"""A user's own loop over steps, written as `scan`: what the refusal of a loop that cannot be captured shows.

`observed` runs the module once and notes what the loop's variables hold; its body is written as a step, with `branches`
for conditions that depend on steps, `step_reads` for what a step reads, and `step_writes` for lists and tensors that it
fills; `writing` puts the function together, in the user's own lines but for the loop. `proposal` finds the loop of a
refusal, and shows only what gives the same values as the user's function (`comparison`) and can be exported.

The package is a part of `rnnserve.export.recurrence`, beside `loops`.

Door: `comparison`, `proposal`.
"""

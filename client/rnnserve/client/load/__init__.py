"""The latency load test: open loop, latency from the intended send, every answer checked.

`rnnserve load` is the way in; `rnnserve.client.commands.load` shows how the parts are put together.

    plan          what is measured: a load, and what came of it
    distribution, arrivals, walks, workload
                  what is asked and when, drawn and serialized beforehand
    generator     the hot path; `samples` is what it notes, `histogram` what becomes of the durations
    share, processes
                  generators in processes of their own
    campaign      loads one after the other; `search` finds the highest rate that holds an objective
    judge         whether an objective holds, and whether the generator was the limit
    discovery, serving, machine, context
                  whom is asked, on what
    progress, table, document, report
                  what is told; `charts` and `svg` draw for the report
"""

"""The load test: an open loop, latency measured from the intended send time, every answer checked.

`rnnserve.load.commands.load` shows how the parts work together. Only `report/` needs
matplotlib and Jinja2, and only `confidence` needs scipy.

    load_level, load_result, statistics   one load level, its result, and the figures of its requests
    draws, inputs, workload               what is sent and when, drawn and serialized before the load starts
    answer_checks                         answers against known labels or reference outputs
    generator, generator_processes        the hot path, and the processes that run it
    load_test                             several levels in turn, and the search for the highest rate
    verdict, confidence                   whether an objective is met, by a confidence interval
    comparison                            two tests compared
    server_inspector, local_server, machine
                                          the server under test, and the generator's machine
    progress, results, results_document, report/
                                          output: progress bar, table and sentences, JSON, HTML page
    units                                 from text to numbers and back
    demo_models/                          a repository of one model, which `rnnserve demo` serves

Door: nothing.
"""

__all__: list[str] = []

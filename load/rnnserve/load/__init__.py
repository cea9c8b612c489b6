"""The load test: an open loop, latency measured from the intended send time, every answer checked.

For how the parts work together, see `rnnserve.load.commands.load`. Only `report/` needs matplotlib and Jinja2, and
only `confidence` needs scipy.

    load_level, load_result, statistics   one load level, its result, and the figures of its requests
    draws, inputs, workload               which requests are sent and when, prepared before the load starts
    answer_checks                         checks answers against reference outputs
    generator, generator_processes        the hot path, and the processes that run it
    load_test                             several levels in turn, and the search for the highest rate
    verdict, confidence                   whether a load meets an objective, from a confidence interval
    server_inspector, local_server, machine
                                          the server under test, and the generator's machine
    progress, results, results_document, report/
                                          output: progress bar, table and sentences, JSON, HTML page
    units                                 parses and formats numbers with units
    demo_models/                          a repository with the model that `rnnserve demo` serves

Public: nothing.
"""

__all__: list[str] = []

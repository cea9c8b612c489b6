"""The load test: an open loop, latency measured from the intended send time, every answer checked.

`rnnserve load` is the entry point, and `rnnserve size` works with its results; `rnnserve.load.commands.load` shows how
the parts work together. Only `report/` needs matplotlib and Jinja2.

    load_level      what is measured: one load level and its result
    size_distribution, even_draws, arrivals, labelled_walks, input_drawing, sample_inputs, workload, scenarios
                    what is sent and when, drawn and serialized before the load starts
    answer_checks   answers against golden ones, where the labels are not known
    load_generator  the hot path; it appends to `samples`
    histogram, latency_counts, interim_counts, load_statistics
                    from samples to statistics, after a load and while it runs
    generator_worker, generator_processes, generator_growth
                    generators in their own processes
    load_test       several levels in turn; `rate_search` finds the highest rate that meets an objective
    latency_objective, early_stopping, generator_limit, verdict
                    whether an objective is held, and whether the generator was the limit
    repetition, comparison, distributions
                    runs of one load and their intervals; two tests compared; the probabilities for both
    server_inspector, local_server, server_usage, machine, run_description
                    the server under test, the generator's machine, and what identifies a run
    sizing, measured_rates
                    how many servers a rate takes, from what was measured
    progress, findings, results_table, results_document, report/
                    output: progress bar, sentences, table, JSON, HTML page
    argument_types, units
                    from text to numbers and back
    demo_models/    a repository of one model, which `rnnserve demo` serves; load/make_demo_model.py makes it

Door: nothing.
"""

__all__: list[str] = []

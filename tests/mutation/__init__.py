"""Tests of the tests: change the source in one place at a time and see whether a test fails (`make mutants`).

=====================  =========================================================================================
file                   what it does
=====================  =========================================================================================
`__main__.py`          the command: sample, trace, run, report
`mutants.py`           finds the places that cosmic-ray's operators can change, and draws a sample
`tracing.py`           pytest plugin that records which test runs which line
`selection.py`         the tests that run a line, quickest first
`running.py`           runs these tests on a copy of the tree that holds one mutant
`equivalents.py`       mutants that behave as the original, each with the reason: `equivalents.toml`
=====================  =========================================================================================

Nothing here is imported by other tests, and pytest collects nothing from here but `test_*.py`.
"""

"""Simulated fleets of servers, by measured costs: `make simulate`, `python -m benchmarks.simulation`.

`calibration` measures what requests cost real servers, and compares the simulation with loads that it was not fitted
to; `cost_model` is what it finds, and the file of it. `fleet` simulates a load, `simulated_server` one server (with the
queue and the plans of the real one), `balancing` the ways to it. `studies` ask what one wants to know before there are
several machines, `bottleneck` says what is full first, and `__main__` prints it.

simpy keeps the clock. Every request and every run is an event of its own; nothing is averaged.
"""

"""The load test's report: one HTML page that needs no other file, no scripts, no fonts and no network.

Only this part of the load test needs matplotlib and Jinja2 (the extra `report`). `rnnserve load --html` imports it.

Public: `__all__`.
"""

from rnnserve.load.report.page import render_report

__all__ = ["render_report"]

"""The load test's report: one HTML page that needs no other file, no scripts, no fonts and no network.

The only part of the load test that needs matplotlib and Jinja2 (the extra `report`); `rnnserve load --html` imports it.

    page            the page, from `templates/page.html.jinja`
    charts          what each chart shows
    svg_chart       charts of one look, drawn by matplotlib, as SVG elements whose colours the page's style sheet sets

Door: `__all__`.
"""

from rnnserve.load.report.page import render_report

__all__ = ["render_report"]

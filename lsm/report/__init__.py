"""A report of one or several evaluated solvers as one HTML page that needs no network."""

from __future__ import annotations

from lsm.report.content import Content, Picture, Run
from lsm.report.page import render

__all__ = ["Content", "Picture", "Run", "render"]

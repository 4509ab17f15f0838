"""The self-contained HTML pages of runs, of two of them side by side, and of scored files."""

from mmreflect.report.page import write_page
from mmreflect.report.viewing import view

__all__ = ["view", "write_page"]

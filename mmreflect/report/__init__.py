"""The self-contained HTML page of a run."""

from mmreflect.report.page import write_page

__all__ = ["write_page"]

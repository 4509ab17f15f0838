"""The self-contained HTML pages of runs, of two of them side by side, and of scored files."""

from typing import TYPE_CHECKING, Any

PAGE = "index.html"
"""Name of a run's page in its folder."""

if TYPE_CHECKING:
    from mmreflect.report.page import write_page
    from mmreflect.report.viewing import view


def __getattr__(name: str) -> Any:
    """Import what is asked for: the pages of evaluations need far more than that of a merge."""
    if name == "write_page":
        from mmreflect.report.page import write_page

        return write_page
    if name == "view":
        from mmreflect.report.viewing import view

        return view
    raise AttributeError(f"module 'mmreflect.report' has no attribute {name!r}")


__all__ = ["PAGE", "view", "write_page"]

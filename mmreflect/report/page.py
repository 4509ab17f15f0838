"""Writing the page of a run."""

from pathlib import Path


def write_page(path: str) -> Path:
    """Write `index.html` into a run's folder and return its path."""
    raise RuntimeError("under construction")

"""The releases of benchmarks as their authors publish them, read into questions.

    settings.py   which questions are asked
    release.py    opening a release: its rows in order, checked, with a mark of their content
    layout.py     which files of a folder hold a split
    tables.py     parquet, arrow, JSONL, JSON, TSV and CSV as records with their own types
    hub.py        the same from the Hub
    shelf.py      the media that rows name: found, unpacked, written once
    questions.py  rows as items and samples; what cannot be shown is set aside

Importing this package imports neither torch nor `datasets`.
"""

from mmreflect.evaluation.releases.questions import Question, Questions, questions
from mmreflect.evaluation.releases.release import Release, open_release
from mmreflect.evaluation.releases.settings import ReleaseConfig
from mmreflect.media.pictures import cache_folder

__all__ = ["Question", "Questions", "Release", "ReleaseConfig", "cache_folder", "open_release", "questions"]

"""Miniature releases of every benchmark, in the layouts and with the oddities of the published ones; all content is ours.

    python -m tests.benchmarks.replicas OUT            all of them, each in a folder of its own
    python tests/benchmarks/replicas.py OUT mmmu mlvu  some of them

Columns and types are those of the releases: nulls, structs, lists as text, pictures as bytes, whole numbers as float64
where a column has gaps, options that begin with their letter or are "N/A", splits whose answers are hidden.
"""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # run as a module, only the checkout is on the path

import replica_pictures
import replica_videos
from replica_making import Shop

REPLICAS: dict[str, Callable[[Path, Shop], None]] = {
    made.__name__: made for made in (*replica_pictures.RELEASES, *replica_videos.RELEASES)
}
"""By folder; a name with a benchmark's before an underscore is another form of its release."""


def build(out: Path, names: Sequence[str] = ()) -> dict[str, Path]:
    """Write replicas into folders of their own, replacing those that are there."""
    shop = Shop()
    for name in names or REPLICAS:
        shutil.rmtree(out / name, ignore_errors=True)
        REPLICAS[name](out / name, shop)
    return {name: out / name for name in names or REPLICAS}


if __name__ == "__main__":
    if len(sys.argv) < 2 or set(sys.argv[2:]) - set(REPLICAS):
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} OUT [{' | '.join(REPLICAS)}]...")
    for name, folder in build(Path(sys.argv[1]), sys.argv[2:]).items():
        print(f"{name}: {folder}")

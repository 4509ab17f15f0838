"""MinHash: short sketches of texts whose equal places estimate how many runs of words two texts share.

Broder, "On the resemblance and containment of documents" (1997). A sketch of `PLACES` minima estimates a Jaccard
likeness J with a standard error of sqrt(J (1 - J) / PLACES): 0.035 at 0.8. The element-wise minimum of two sketches is
the sketch of both texts' runs together. Ours, not `datasketch`: that is another dependency for forty lines, and its
permutations come from numpy's random state, while these must be the same in any version, as sketches lie on disk.
"""

import base64
import hashlib

import numpy as np
import numpy.typing as npt

from mmreflect.quality.texts import words_of

RUN = 5
"""Words of a run."""
PLACES = 128

Sketch = npt.NDArray[np.uint32]
"""(PLACES,): the least value of each of as many hash functions over the runs of a text."""


def _constants(name: str) -> "npt.NDArray[np.uint64]":
    drawn = [hashlib.blake2b(f"{name} {place}".encode(), digest_size=8).digest() for place in range(PLACES)]
    return np.array([int.from_bytes(each, "big") for each in drawn], dtype=np.uint64)


_FACTORS, _SHIFTS = _constants("factor") | np.uint64(1), _constants("shift")


def runs_of(text: str, part: str = "") -> set[bytes]:
    """Return hashes of the runs of five words of a text; of a shorter one the whole of it.

    Args:
        part: tells runs of one part of a row from those of another.
    """
    words = words_of(text)
    runs = [words[start : start + RUN] for start in range(max(1, len(words) - RUN + 1))]
    return {hashlib.blake2b(" ".join(run).encode(), digest_size=8, person=part.encode()).digest() for run in runs}


def sketch_of(text: str, part: str = "") -> Sketch:
    """Return the sketch of a text."""
    runs = np.frombuffer(b"".join(sorted(runs_of(text, part))), dtype=">u8").astype(np.uint64)
    hashed = (runs[:, None] * _FACTORS[None, :] + _SHIFTS[None, :]) >> np.uint64(32)  # multiply-shift, modulo 2^64
    return np.asarray(hashed.min(axis=0), dtype=np.uint32)


def alike(sketch: Sketch, others: "npt.NDArray[np.uint32]") -> "npt.NDArray[np.float64]":
    """Return how like a sketch each of others, (N, PLACES), is: the share of equal places."""
    shares: npt.NDArray[np.float64] = (others == sketch).mean(axis=-1)
    return shares


def to_text(sketch: Sketch) -> str:
    """Write a sketch as text."""
    return base64.b64encode(sketch.astype("<u4").tobytes()).decode()


def from_text(text: str) -> Sketch:
    """Read it again."""
    return np.frombuffer(base64.b64decode(text), dtype="<u4").astype(np.uint32)

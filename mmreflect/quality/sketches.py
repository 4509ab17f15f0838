"""MinHash: short sketches of texts whose equal places estimate how many runs of words two texts share.

Broder, "On the resemblance and containment of documents" (1997). A sketch of `PLACES` minima estimates a Jaccard
likeness J with a standard error of sqrt(J (1 - J) / PLACES): 0.035 at 0.8. The element-wise minimum of two sketches is
the sketch of both texts' runs together. Ours, not `datasketch`: that is another dependency for forty lines, and its
permutations come from numpy's random state, while these must be the same in any version, as sketches lie on disk.
"""

import base64
import functools
import hashlib

import numpy as np
import numpy.typing as npt

from mmreflect.quality.texts import words_of

RUN = 5
"""Words of a run."""
PLACES = 128

Sketch = npt.NDArray[np.uint32]
"""(PLACES,): the least value of each of as many hash functions over the runs of a text."""


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _constants(name: str) -> "npt.NDArray[np.uint64]":
    return np.array([_hash(f"{name} {place}") for place in range(PLACES)], dtype=np.uint64)


_known = functools.lru_cache(maxsize=1 << 16)(_hash)
_FACTORS, _SHIFTS, _ORDER = _constants("factor") | np.uint64(1), _constants("shift"), _constants("order")[:RUN]


def runs_of(text: str, part: str = "") -> "npt.NDArray[np.uint64]":
    """Return hashes of the different runs of five words of a text; of a shorter one the whole of it.

    Args:
        part: tells runs of one part of a row from those of another.
    """
    hashes = [_known(word) for word in words_of(text)]
    words = np.array(hashes + [0] * (RUN - len(hashes)), dtype=np.uint64)
    count = len(words) - RUN + 1
    runs = np.full(count, _known(part), dtype=np.uint64)
    for place in range(RUN):
        runs = runs + words[place : place + count] * _ORDER[place]
    runs = (runs ^ (runs >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)  # sums of hashes are mixed once more
    return np.unique(runs ^ (runs >> np.uint64(27)))


def sketch_of(text: str, part: str = "") -> Sketch:
    """Return the sketch of a text."""
    runs = runs_of(text, part)
    hashed = (_FACTORS[:, None] * runs[None, :] + _SHIFTS[:, None]) >> np.uint64(32)  # multiply-shift, modulo 2^64
    return np.asarray(hashed.min(axis=1), dtype=np.uint32)


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

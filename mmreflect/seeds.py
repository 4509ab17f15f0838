"""Random numbers that depend on what they are for, not on what was drawn before.

Every draw is seeded from (run seed, step, purpose, sample id), so that an evaluation or a retry in between changes
nothing, and a resumed run draws what the uninterrupted one would have drawn.
"""

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derive_seed(*parts: object) -> int:
    """Return 64 bits that depend on all the parts and their order."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def python_rng(*parts: object) -> random.Random:
    """Return a generator of the standard library, seeded from the parts."""
    return random.Random(derive_seed(*parts))


def numpy_rng(*parts: object) -> "np.random.Generator":
    """Return a numpy generator, seeded from the parts."""
    import numpy as np

    return np.random.Generator(np.random.Philox(derive_seed(*parts)))

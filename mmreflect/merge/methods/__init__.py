"""Merge methods, one file each: a pure function on norms or tensors, its options, and its run."""

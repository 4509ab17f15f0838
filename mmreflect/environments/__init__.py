"""Environments, one file each: how an episode unfolds, written once as a generator."""

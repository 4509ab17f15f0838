"""Rewards, one file each: a whole group in, one explained score per rollout out."""

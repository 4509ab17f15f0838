"""Advantage functions, one file each: a scored group in, an array per rollout out."""

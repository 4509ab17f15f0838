"""Engines, one file each: what speaks."""

"""Datasets on disk, checked samples, rendering to tokens, and batches."""

"""Rows that a teacher writes: who is asked, what is asked in which order, and what is thrown away."""

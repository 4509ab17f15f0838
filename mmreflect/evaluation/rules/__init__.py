"""Rules that several benchmarks share: reducing, extracting, comparing and counting answers as official code does.

They reproduce what others wrote, oddities included, and are no part of the project's own grader (`mmreflect.answers`).
"""

"""Merge methods, one file each: its options, the pure function that is the method, and the rule made of it.

`create(options)` returns a function from the number of decoder blocks to a `mmreflect.merge.rule.Rule`.
"""

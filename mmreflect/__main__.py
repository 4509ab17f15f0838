"""`python -m mmreflect`."""

from mmreflect.cli import entry

entry()

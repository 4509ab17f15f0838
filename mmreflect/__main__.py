"""`python -m mmreflect`."""

import sys

from mmreflect.cli import main

sys.exit(main())

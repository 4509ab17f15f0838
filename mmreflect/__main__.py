"""`python -m mmreflect`, which `accelerate launch -m mmreflect` uses."""

import sys

from mmreflect.cli import main

sys.exit(main())

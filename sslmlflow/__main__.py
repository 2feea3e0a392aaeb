"""`python -m sslmlflow`."""

import sys

from sslmlflow.cli import main

sys.exit(main())

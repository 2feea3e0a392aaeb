"""sslmlflow for tests of a lost connection, which cannot wait as long as users do."""

import sys
from datetime import timedelta

from sslmlflow import distributed, restarts
from sslmlflow.cli import main

if __name__ == "__main__":
    distributed.STEP_WAIT = timedelta(seconds=15)
    restarts.GIVE_UP = 60.0
    sys.exit(main())

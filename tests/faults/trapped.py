"""The command line with a trap, which the variable TRAP describes."""

import json
import os
import sys

from sslmlflow.cli import main
from tests.trap import set_trap

if __name__ == "__main__":
    set_trap(**json.loads(os.environ["TRAP"]))
    sys.exit(main())

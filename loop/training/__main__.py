"""Entry point of one process of a training: `torchrun -m loop.training JOB`, as `launch` calls it."""

import sys
from pathlib import Path

from loop.training.launch import main

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

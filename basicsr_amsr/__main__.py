"""`python -m basicsr_amsr` is the `basicsr` command, for torchrun."""
import sys

from basicsr_amsr.cli import main

if __name__ == '__main__':
    sys.exit(main())

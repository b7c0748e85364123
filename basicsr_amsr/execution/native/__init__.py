"""Native CPU kernels on listed patches: see README.md beside this file, and program.py for the interface."""

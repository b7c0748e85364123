"""Training that can be killed and goes on exactly, in one process or several: docs/training.md."""

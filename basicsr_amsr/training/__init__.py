"""Training that can be killed and goes on exactly (docs/training.md), and its fast path (docs/training_speed.md)."""

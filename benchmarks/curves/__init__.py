"""Quality against counted MACs and against time of accelerated networks that were not trained for it."""

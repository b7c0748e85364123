"""The sparse form of a calibrated network on a CPU: the dense form's programs on lists of active patches."""

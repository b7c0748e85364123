"""Typed options behind the YAML: what a section may hold, and what is wrong with a file, in one line each."""

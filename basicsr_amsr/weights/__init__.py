"""Weights that come with the project, and the cards that describe them."""

"""Fits what skipped pixels get, in closed form, to unlabelled images."""

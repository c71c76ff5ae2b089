"""Finished datasets become things people open."""

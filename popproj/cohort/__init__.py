"""Demography that would be true on any island."""

"""Everything that needs a coordinate."""

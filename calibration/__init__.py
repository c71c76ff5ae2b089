"""Is it good? Studies on named panels, whose evidence is kept beside them."""

"""How fast is it: stages of a run, and the kernel against the machine and against numpy."""

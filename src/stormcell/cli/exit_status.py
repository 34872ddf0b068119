"""What the exit status of the command line says."""

ALL_DONE = 0
SOME_REFUSED = 1  # done, but some input was refused
NOTHING_DONE = 2

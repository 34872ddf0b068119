"""Exit status of the command line."""

ALL_DONE = 0
SOME_REFUSED = 1  # done, but some input was refused
NOTHING_DONE = 2

"""The experiments of the ConvLSTM papers and their successors, each a command."""

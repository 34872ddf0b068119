"""The published folder: what ``live`` writes and ``serve`` reads. Needs neither torch nor a network."""

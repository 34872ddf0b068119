"""The command line: ``main`` declares the verbs, and one module per verb implements it."""

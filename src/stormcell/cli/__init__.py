"""The command line: ``main`` declares the verbs, and each verb has a module of its own."""

"""From an archive to a model file. The only room that knows Lightning."""

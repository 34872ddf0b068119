"""Training: one loop, its tasks, and the nowcaster's task. Only this room imports Lightning."""

"""Training: the story, the loop, the step, the tasks."""

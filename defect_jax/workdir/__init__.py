"""What a run leaves on disk: config, checkpoints, metrics, best weights."""

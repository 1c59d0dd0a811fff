"""What changes after the day of training: the light, the camera, where a part lies."""

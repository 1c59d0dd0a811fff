"""What a trained network becomes outside of training: files that other programs run."""

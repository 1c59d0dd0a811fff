"""What every program needs: paths, files, signals, compilation, the console."""

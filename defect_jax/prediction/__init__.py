"""The files of --mode=predict: which images come in, and what is written of each."""

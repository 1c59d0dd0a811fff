"""The files of --mode=predict: which pictures come in, and what is written of each."""

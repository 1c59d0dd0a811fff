"""What a run chooses by its data and its machine, where the config leaves it open."""

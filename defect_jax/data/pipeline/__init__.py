"""From a prepared set to batches on the devices."""

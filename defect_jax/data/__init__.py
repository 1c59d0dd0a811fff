"""Raw images to batches on the device."""

"""Raw pictures to batches on the device."""

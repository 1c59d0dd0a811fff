"""Raw files: archives, buckets, decoding, and the encoding of records."""

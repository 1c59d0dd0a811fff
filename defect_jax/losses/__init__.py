"""One file per family of losses."""

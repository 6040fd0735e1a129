"""Linear codes over pieces: pure numpy; one file per family."""

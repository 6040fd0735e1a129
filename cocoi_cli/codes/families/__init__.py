"""One file per code family; the registry finds them by itself."""

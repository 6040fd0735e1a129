"""One inference: the session decides, the coordinator does what it is told."""

"""Devices over SSH: which there are, what they are like, what is installed on them."""

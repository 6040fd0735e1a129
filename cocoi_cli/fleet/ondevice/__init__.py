"""What is sent to a device and run there by its own Python: the standard library only, from Python 3.7 on."""

"""The agent of cocoi: computes shares of convolutions on a device."""

__version__ = "0.1.0"

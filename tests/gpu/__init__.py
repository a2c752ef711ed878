"""What needs a CUDA GPU: the same code as everywhere, with the device as data."""

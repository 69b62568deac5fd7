"""Benchmark protocols, a file each: the file name is the protocol's name."""

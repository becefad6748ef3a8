"""Fuzzers: hostile model files and hostile calls of the kernel."""

"""The kernel: its C source, the compiler call, and what the build leaves here."""

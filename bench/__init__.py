"""Side-by-side measurements: what Zenso reaches, and what its peers reach on the same machine and input."""

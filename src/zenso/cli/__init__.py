"""The `zenso` command."""

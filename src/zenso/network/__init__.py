"""Experiences shared between nodes that do not trust each other (section 9 of the design)."""

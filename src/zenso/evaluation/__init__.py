"""How good rankings are on a collection with judgements: measures, significance, and reports."""

"""The bus: what nodes tell each other while it is new."""

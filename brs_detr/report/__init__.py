"""Pictures, curves and tables that show what a model learnt. Nothing is imported here."""

"""Pages, figures, images and tables that show data and results. Nothing is imported here."""

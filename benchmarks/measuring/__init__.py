"""Measuring tools of the scripts in the parent folder."""

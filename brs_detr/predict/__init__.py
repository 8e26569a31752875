"""Detect on images, videos and cameras, and write what was found."""

"""A detector behind a small local page and a JSON API: `brs-detr serve`."""

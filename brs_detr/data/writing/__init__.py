"""Write datasets: convert them to COCO format, and fix what is wrong in them."""

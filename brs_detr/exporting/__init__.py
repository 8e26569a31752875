"""Make a file of a trained model that runs elsewhere, and prove that it gives the same detections."""

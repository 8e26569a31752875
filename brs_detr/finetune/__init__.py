"""Fine-tuning: the recipe for a data set, the weights to begin with, and the batch that fits."""

"""Fine-tuning recipes: choose settings that suit a dataset, and write them into a config."""

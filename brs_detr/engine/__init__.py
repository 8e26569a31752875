"""Train, evaluate and predict: thin layers over mmengine."""

"""Pictures of shapes, made to train on without any data."""

"""What a trained run is used for: told apart, explained, and carried elsewhere."""

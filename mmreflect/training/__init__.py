"""What every trainer shares: arguments, order, checkpoints, validation, progress."""

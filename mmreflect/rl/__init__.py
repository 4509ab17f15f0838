"""From groups to the update: advantages, selections, rows, and the trainer on TRL."""

"""Rollouts: actions, the driver, engines, scoring."""

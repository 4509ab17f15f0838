"""Asking a model every question once, and recording every answer."""

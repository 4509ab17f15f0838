"""Asking a model behind an OpenAI-compatible server: cached, paced, limited, retried; no torch, no engine."""

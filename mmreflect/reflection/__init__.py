"""Tagged layouts, reflecting words, and the reflection ledger."""

"""Charts with everything known about them: tables, pictures, elements in pixels, questions with their solutions."""

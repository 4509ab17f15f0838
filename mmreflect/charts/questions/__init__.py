"""Questions about charts, their answers and solutions; a module asks one skill, from reading to several steps."""

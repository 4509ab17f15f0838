"""The marks of each kind of chart; a module draws one family of kinds."""

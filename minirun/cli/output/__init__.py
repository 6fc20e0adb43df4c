"""How commands print: columns, sizes and times in words, Go templates, the rows of `ps` and `inspect`."""

"""Who asks: credentials, and the tokens that registries give for them."""

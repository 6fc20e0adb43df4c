"""COPY and ADD: what their sources mean, what of a context is left out, and the layer that they make."""

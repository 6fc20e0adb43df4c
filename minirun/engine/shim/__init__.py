"""The shim: one process for each container, which brings it up, becomes its monitor, and takes it down."""

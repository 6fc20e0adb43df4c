"""Which devices a container may open: the rules, and the two ways in which the kernel is given them."""

"""A container's files as those see them who are not in it: compared, copied, made an image of."""

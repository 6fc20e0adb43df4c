"""Images from Dockerfiles: the language, what a target needs of it, and what a build context holds."""

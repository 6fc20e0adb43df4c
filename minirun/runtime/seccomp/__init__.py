"""System call filters: from a profile to a program that the kernel takes, and who is asked."""

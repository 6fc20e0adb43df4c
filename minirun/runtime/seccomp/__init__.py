"""System call filters: from a profile to the program that the kernel runs, and to the agent that it may ask."""

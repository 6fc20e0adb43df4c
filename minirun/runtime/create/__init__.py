"""How a process comes into a container: parent, child, what they tell each other, and the last step before exec."""

"""The verbs that build images, and look after what builds remember."""

"""What is told to people who ask, mistype or press the tab key. click is imported here only when they do."""

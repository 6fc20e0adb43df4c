"""Variables, and the words that they stand in: from an instruction as written to what it says where it stands."""

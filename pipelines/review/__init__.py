"""Reviews: campaigns that ask people for labels, and their answers."""

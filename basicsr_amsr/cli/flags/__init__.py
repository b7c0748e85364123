"""What each command takes, one file for each: they import nothing, so that help and a wrong flag are there at once."""

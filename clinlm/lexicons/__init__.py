"""Where the names of symptoms come from: listed, obo."""

"""Files of the i2b2 and n2c2 challenges."""

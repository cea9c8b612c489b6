"""What the tests of several areas need."""

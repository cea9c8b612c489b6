"""The commands of this area, for the console script.

Door: nothing.
"""

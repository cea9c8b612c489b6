"""Commands of the export area, for the console script.

Door: nothing.
"""

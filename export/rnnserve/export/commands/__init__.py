"""Commands of the export area, for the console script.

Public: nothing.
"""

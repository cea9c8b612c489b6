"""The commands of this area, which need only the area protos.

Public: nothing.
"""

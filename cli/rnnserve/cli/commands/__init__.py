"""The commands of this area: those that need no other area than protos.

Door: nothing.
"""

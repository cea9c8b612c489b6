"""The corpus: modules as users write them, each with the verdict on its export.

A row says what an export gives, not how: either it is right, or it is refused with a phrase and mostly with a line of
the module. A family is a list of rows of one kind. `checking` exports the right rows up to eight at a time.
"""

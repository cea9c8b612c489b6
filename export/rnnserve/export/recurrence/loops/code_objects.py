"""Code objects: those in another one, and whether two do the same."""

import types

__all__ = ["codes_by_place", "same_code"]


def codes_by_place(code: types.CodeType) -> dict[tuple[str, int], types.CodeType]:
    """Give a code object and those in it, by name and first line."""
    found = {(code.co_name, code.co_firstlineno): code}
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            found.update(codes_by_place(each))
    return found


def same_code(one: types.CodeType, other: types.CodeType) -> bool:
    """Whether two code objects do the same, wherever they stand."""
    if (one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames):
        return False
    if one.co_freevars != other.co_freevars or len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        same_code(mine, its) if isinstance(mine, types.CodeType) and isinstance(its, types.CodeType) else mine == its
        for mine, its in zip(one.co_consts, other.co_consts, strict=True)
    )

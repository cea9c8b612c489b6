"""What an operator should look at before a server starts: each finding with what to do about it.

`finding` is one; `examination` makes all of them, in their order: `installed` looks at packages, the provider and the
lane, `machine` at limits and the clock, `listening` at ports and certificates, `access` at whose calls are answered,
`signatures` at whose signatures count, and `models` at the repository.

Imports every room below it. What needs a package that may be missing is imported where it is needed.

Threads: `installed`.

Door: `examination`, `finding`.
"""

__all__: list[str] = []

"""The servers that this one is compared with: `plain` and `constant` are programs, `triton` prepares Triton's."""

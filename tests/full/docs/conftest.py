from kit.documentation import folder, port

__all__ = ["folder", "port"]

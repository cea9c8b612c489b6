from kit.fronts import no_process_is_left, web_server

__all__ = ["no_process_is_left", "web_server"]

from kit.http_servers import no_process_is_left, served

__all__ = ["no_process_is_left", "served"]

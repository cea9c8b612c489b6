"""The attacks, by what they abuse: messages, management, calls, floods of frames and connections; and HTTP."""

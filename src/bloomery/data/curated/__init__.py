"""Curated sources that need no download: documentation, skills, chat, safety and the demo domain."""

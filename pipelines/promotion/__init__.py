"""Who becomes champion, and who stays it."""

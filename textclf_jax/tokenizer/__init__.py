"""Text to token ids: the WordPiece wrapper, and loading it or a user's own by path."""

"""One resident model each: it is loaded once, then handed batch after batch."""

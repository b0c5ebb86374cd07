"""Pure numerical functions; they know no files and no SQL."""

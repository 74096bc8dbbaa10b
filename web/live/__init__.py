"""What is newly stored, for those who watch: people at the page Live, programs at the stream."""
